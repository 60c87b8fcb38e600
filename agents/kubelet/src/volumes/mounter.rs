//! Makes and refreshes a pod's volumes on the host.

use std::collections::HashMap;
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use hansa_api::k8s_openapi::api::authentication::v1::{
    BoundObjectReference, TokenRequest, TokenRequestSpec,
};
use hansa_api::k8s_openapi::api::core::v1::{
    HostPathVolumeSource, Pod, ProjectedVolumeSource, ServiceAccountTokenProjection, Volume,
    VolumeProjection,
};
use jiff::Timestamp;

use super::atomic::{self, File, Payload};
use super::payload::{self, DEFAULT_MODE};
use crate::api::{Api, ApiError};
use crate::fields::{FieldError, Place};
use crate::names::{Folders, identity};

/// Why a volume is not there. Completes `MountVolume.SetUp failed for volume "x" : `.
#[derive(Debug, thiserror::Error)]
pub enum VolumeError {
    /// A ConfigMap is not there.
    #[error("configmap {0:?} not found")]
    NoConfigMap(String),
    /// A Secret is not there.
    #[error("secret {0:?} not found")]
    NoSecret(String),
    /// A key is not there.
    #[error(transparent)]
    NoKey(#[from] payload::NoKey),
    /// The downward API cannot show it.
    #[error("failed to {0}")]
    Field(#[from] FieldError),
    /// The API server did not answer.
    #[error("failed to {0}")]
    Api(#[from] ApiError),
    /// The host's path is not what the volume says it is.
    #[error("hostPath type check failed: {path} is not a {wanted}")]
    HostPath {
        /// The path.
        path: String,
        /// What it should be.
        wanted: &'static str,
    },
    /// A kind of volume this kubelet does not make.
    #[error("this kind of volume is not supported")]
    Unsupported,
    /// The disk says no.
    #[error("write the volume: {0}")]
    Io(#[from] io::Error),
}

/// Makes volumes of one pod and remembers its tokens.
pub struct Mounter {
    api: Arc<dyn Api>,
    folders: Folders,
    tokens: HashMap<String, Token>,
}

#[derive(Debug, Clone)]
struct Token {
    text: String,
    refresh_at: Timestamp,
}

impl Mounter {
    /// A mounter without volumes.
    #[must_use]
    pub fn new(api: Arc<dyn Api>, folders: Folders) -> Self {
        Self { api, folders, tokens: HashMap::new() }
    }

    /// Makes or refreshes all volumes: name to host path.
    ///
    /// # Errors
    /// The first volume that cannot be made, with its name.
    pub async fn mount(
        &mut self,
        pod: &Pod,
        place: &Place,
    ) -> Result<HashMap<String, PathBuf>, (String, VolumeError)> {
        let mut paths = HashMap::new();
        let volumes = pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
        for volume in volumes {
            let path = self.one(pod, place, volume).await;
            let path = path.map_err(|error| (volume.name.clone(), error))?;
            paths.insert(volume.name.clone(), path);
        }
        Ok(paths)
    }

    async fn one(
        &mut self,
        pod: &Pod,
        place: &Place,
        volume: &Volume,
    ) -> Result<PathBuf, VolumeError> {
        let (namespace, _, uid) = identity(pod);
        let at = |plugin: &str| self.folders.volume(uid, plugin, &volume.name);
        if volume.empty_dir.is_some() {
            let path = at("empty-dir");
            empty_dir(&path)?;
            return Ok(path);
        }
        if let Some(source) = &volume.host_path {
            return host_path(source);
        }
        let (path, files) = if let Some(source) = &volume.config_map {
            let optional = source.optional == Some(true);
            let mode = payload::mode(source.default_mode, DEFAULT_MODE);
            let data = self.config_map(namespace, &source.name, optional).await?;
            let files = payload::from_keys(&data, source.items.as_deref(), mode, optional)?;
            (at("configmap"), files)
        } else if let Some(source) = &volume.secret {
            let optional = source.optional == Some(true);
            let mode = payload::mode(source.default_mode, DEFAULT_MODE);
            let name = source.secret_name.clone().unwrap_or_default();
            let data = self.secret(namespace, &name, optional).await?;
            let files = payload::from_keys(&data, source.items.as_deref(), mode, optional)?;
            (at("secret"), files)
        } else if let Some(source) = &volume.downward_api {
            let mode = payload::mode(source.default_mode, DEFAULT_MODE);
            let items = source.items.as_deref().unwrap_or_default();
            (at("downward-api"), payload::downward(pod, place, items, mode)?)
        } else if let Some(source) = &volume.projected {
            let path = at("projected");
            (path, self.projected(pod, place, source).await?)
        } else {
            return Err(VolumeError::Unsupported);
        };
        atomic::write(&path, &files)?;
        Ok(path)
    }

    async fn config_map(
        &self,
        namespace: &str,
        name: &str,
        optional: bool,
    ) -> Result<std::collections::BTreeMap<String, Vec<u8>>, VolumeError> {
        match self.api.config_map(namespace, name).await? {
            Some(map) => Ok(payload::config_map_data(&map)),
            None if optional => Ok(Default::default()),
            None => Err(VolumeError::NoConfigMap(name.to_string())),
        }
    }

    async fn secret(
        &self,
        namespace: &str,
        name: &str,
        optional: bool,
    ) -> Result<std::collections::BTreeMap<String, Vec<u8>>, VolumeError> {
        match self.api.secret(namespace, name).await? {
            Some(secret) => Ok(payload::secret_data(&secret)),
            None if optional => Ok(Default::default()),
            None => Err(VolumeError::NoSecret(name.to_string())),
        }
    }

    async fn projected(
        &mut self,
        pod: &Pod,
        place: &Place,
        source: &ProjectedVolumeSource,
    ) -> Result<Payload, VolumeError> {
        let mode = payload::mode(source.default_mode, DEFAULT_MODE);
        let mut files = Payload::new();
        for part in source.sources.iter().flatten() {
            files.extend(self.projection(pod, place, part, mode).await?);
        }
        Ok(files)
    }

    async fn projection(
        &mut self,
        pod: &Pod,
        place: &Place,
        part: &VolumeProjection,
        mode: u32,
    ) -> Result<Payload, VolumeError> {
        let (namespace, _, _) = identity(pod);
        if let Some(source) = &part.config_map {
            let optional = source.optional == Some(true);
            let data = self.config_map(namespace, &source.name, optional).await?;
            return Ok(payload::from_keys(&data, source.items.as_deref(), mode, optional)?);
        }
        if let Some(source) = &part.secret {
            let optional = source.optional == Some(true);
            let data = self.secret(namespace, &source.name, optional).await?;
            return Ok(payload::from_keys(&data, source.items.as_deref(), mode, optional)?);
        }
        if let Some(source) = &part.downward_api {
            let items = source.items.as_deref().unwrap_or_default();
            return Ok(payload::downward(pod, place, items, mode)?);
        }
        if let Some(source) = &part.service_account_token {
            let data = self.token(pod, source).await?.into_bytes();
            return Ok([(source.path.clone(), File { data, mode: token_mode(pod) })].into());
        }
        Err(VolumeError::Unsupported)
    }

    /// A token bound to the pod, renewed when 80% of its time is over, or after a day.
    async fn token(
        &mut self,
        pod: &Pod,
        source: &ServiceAccountTokenProjection,
    ) -> Result<String, VolumeError> {
        let audience = source.audience.clone().filter(|audience| !audience.is_empty());
        let key = format!("{}/{:?}/{:?}", source.path, audience, source.expiration_seconds);
        let now = Timestamp::now();
        if let Some(token) = self.tokens.get(&key).filter(|token| token.refresh_at > now) {
            return Ok(token.text.clone());
        }
        let (namespace, name, uid) = identity(pod);
        let account = pod.spec.as_ref().and_then(|spec| spec.service_account_name.clone());
        let account = account.unwrap_or_else(|| "default".to_string());
        let bound = BoundObjectReference {
            api_version: Some("v1".to_string()),
            kind: Some("Pod".to_string()),
            name: Some(name.to_string()),
            uid: Some(uid.to_string()),
        };
        let spec = TokenRequestSpec {
            audiences: Some(audience.into_iter().collect()),
            bound_object_ref: Some(bound),
            expiration_seconds: Some(source.expiration_seconds.unwrap_or(3600)),
        };
        let request = TokenRequest { spec: Some(spec), ..TokenRequest::default() };
        let issued = self.api.token(namespace, &account, &request).await?;
        let token = Token {
            refresh_at: issued.expiration_timestamp.map_or(now, |time| refresh_at(now, time.0)),
            text: issued.token.unwrap_or_default(),
        };
        self.tokens.insert(key, token.clone());
        Ok(token.text)
    }
}

fn refresh_at(now: Timestamp, expires: Timestamp) -> Timestamp {
    let lasts = expires.duration_since(now).unsigned_abs();
    now + (lasts.mul_f64(0.8)).min(Duration::from_secs(24 * 3600))
}

/// A token is its pod's user's alone, unless the pod runs as many users.
fn token_mode(pod: &Pod) -> u32 {
    let context = pod.spec.as_ref().and_then(|spec| spec.security_context.as_ref());
    if context.is_some_and(|context| context.fs_group.is_some()) { 0o640 } else { 0o644 }
}

fn empty_dir(path: &Path) -> io::Result<()> {
    if !path.exists() {
        std::fs::create_dir_all(path)?;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o777))?;
    }
    Ok(())
}

fn host_path(source: &HostPathVolumeSource) -> Result<PathBuf, VolumeError> {
    let path = PathBuf::from(&source.path);
    let found = std::fs::metadata(&path).ok().map(|data| data.file_type());
    let is = |test: fn(&std::fs::FileType) -> bool, wanted| match &found {
        Some(kind) if test(kind) => Ok(()),
        _ => Err(VolumeError::HostPath { path: source.path.clone(), wanted }),
    };
    match source.type_.as_deref().unwrap_or_default() {
        "" => {}
        "DirectoryOrCreate" if found.is_none() => {
            std::fs::DirBuilder::new().recursive(true).mode(0o755).create(&path)?;
        }
        "FileOrCreate" if found.is_none() => drop(std::fs::File::create(&path)?),
        "Directory" | "DirectoryOrCreate" => is(std::fs::FileType::is_dir, "directory")?,
        "File" | "FileOrCreate" => is(std::fs::FileType::is_file, "file")?,
        "Socket" => is(std::fs::FileType::is_socket, "socket")?,
        "CharDevice" => is(std::fs::FileType::is_char_device, "character device")?,
        "BlockDevice" => is(std::fs::FileType::is_block_device, "block device")?,
        _ => return Err(VolumeError::Unsupported),
    }
    Ok(path)
}

#[cfg(test)]
#[path = "mounter_tests.rs"]
mod tests;
