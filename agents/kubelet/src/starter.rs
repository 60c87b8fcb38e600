//! Makes a pod's sandbox and starts its containers.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hansa_api::k8s_openapi::api::core::v1::{Container as Spec, Pod};
use k8s_cri::v1 as cri;

use crate::api::Kind;
use crate::container;
use crate::context::Context;
use crate::env::{self, Sources};
use crate::hooks;
use crate::names::identity;
use crate::observed::{Observed, Sandbox};
use crate::probes::check::Target;
use crate::sandbox;
use crate::status::Waiting;

/// A pod and what is known of it.
pub struct Starter<'a> {
    /// What is shared.
    pub context: &'a Arc<Context>,
    /// The pod.
    pub pod: &'a Pod,
    /// What is there.
    pub observed: &'a Observed,
    /// Volumes on the host by name.
    pub volumes: &'a HashMap<String, PathBuf>,
}

fn waiting(reason: &str, message: impl Into<String>) -> Waiting {
    Waiting { reason: reason.to_string(), message: message.into() }
}

impl Starter<'_> {
    fn sandbox_config(&self, attempt: u32) -> cri::PodSandboxConfig {
        sandbox::config(self.pod, &self.context.config, &self.context.folders, attempt)
    }

    /// Makes the pod's sandbox.
    ///
    /// # Errors
    /// What the pod's containers wait for.
    pub async fn sandbox(&self, attempt: u32) -> Result<(), Waiting> {
        let (namespace, name, uid) = identity(self.pod);
        let logs = self.context.folders.logs(namespace, name, uid);
        let made = std::fs::create_dir_all(&logs);
        made.map_err(|error| waiting("ContainerCreating", error.to_string()))?;
        let spec = self.pod.spec.as_ref();
        let handler = spec.and_then(|spec| spec.runtime_class_name.clone()).unwrap_or_default();
        let config = self.sandbox_config(attempt);
        match self.context.cri.run_sandbox(config, &handler).await {
            Ok(_) => Ok(()),
            Err(error) => {
                let note = format!("Failed to create pod sandbox: {}", error.message());
                let warning = Kind::Warning;
                self.context.pod_event(self.pod, warning, "FailedCreatePodSandBox", note.clone());
                Err(waiting("ContainerCreating", note))
            }
        }
    }

    /// Starts a container in the sandbox.
    ///
    /// # Errors
    /// What the container waits for.
    pub async fn container(
        &self,
        sandbox: &Sandbox,
        spec: &Spec,
        attempt: u32,
    ) -> Result<(), Waiting> {
        let image = self.context.puller.ensure(self.pod, spec).await?;
        let config = self.container_config(spec, attempt, &image).await;
        let config = config.map_err(|text| {
            self.failed(spec, &text);
            waiting("CreateContainerConfigError", text)
        })?;
        let cri = &self.context.cri;
        let created =
            cri.create_container(&sandbox.id, config, self.sandbox_config(sandbox.attempt));
        let id = created.await.map_err(|error| {
            self.failed(spec, &error.message());
            waiting("CreateContainerError", error.message())
        })?;
        self.event(spec, Kind::Normal, "Created", format!("Created container: {}", spec.name));
        if let Err(error) = cri.start_container(&id).await {
            self.failed(spec, &error.message());
            let _ = cri.remove_container(&id).await;
            return Err(waiting("RunContainerError", error.message()));
        }
        self.event(spec, Kind::Normal, "Started", format!("Started container {}", spec.name));
        self.post_start(sandbox, spec, &id).await
    }

    async fn post_start(&self, sandbox: &Sandbox, spec: &Spec, id: &str) -> Result<(), Waiting> {
        let Some(hook) = spec.lifecycle.as_ref().and_then(|hooks| hooks.post_start.as_ref()) else {
            return Ok(());
        };
        let target = Target {
            container_id: id.to_string(),
            address: address_of(self.context, sandbox),
            spec: spec.clone(),
        };
        let Err(text) = hooks::run(&self.context.cri, &target, hook).await else { return Ok(()) };
        self.event(
            spec,
            Kind::Warning,
            "FailedPostStartHook",
            format!("PostStartHook failed: {text}"),
        );
        let _ = self.context.cri.stop_container(id, 0).await;
        Err(waiting("PostStartHookError", text))
    }

    fn event(&self, spec: &Spec, kind: Kind, reason: &str, note: String) {
        self.context.event(self.pod, &spec.name, kind, reason, note);
    }

    fn failed(&self, spec: &Spec, text: &str) {
        self.event(spec, Kind::Warning, "Failed", format!("Error: {text}"));
    }

    async fn container_config(
        &self,
        spec: &Spec,
        attempt: u32,
        image: &cri::ImageSpec,
    ) -> Result<cri::ContainerConfig, String> {
        let host_network = self.pod.spec.as_ref().is_some_and(sandbox::host_network);
        let place = self.context.place(self.observed, host_network);
        let sources = self.sources(spec).await?;
        let env = env::environment(self.pod, spec, &place, &sources);
        let env = env.map_err(|error| error.to_string())?;
        let uid = identity(self.pod).2;
        let termination_log = self.context.folders.termination_log(uid, &spec.name, attempt);
        let hosts = (!host_network).then(|| self.context.folders.hosts(uid));
        self.write_files(&place.pod_ips, hosts.as_deref(), &termination_log)
            .map_err(|error| format!("failed to write the pod's files: {error}"))?;
        let input = container::Input {
            pod: self.pod,
            spec,
            attempt,
            image,
            env: &env,
            volumes: self.volumes,
            hosts: hosts.as_deref(),
            termination_log: &termination_log,
            node_memory: self.context.memory(),
        };
        let config = container::config(&input).map_err(|error| error.to_string())?;
        make_sub_paths(spec, &config).map_err(|error| error.to_string())?;
        Ok(config)
    }

    fn write_files(
        &self,
        addresses: &[String],
        hosts: Option<&Path>,
        termination_log: &Path,
    ) -> std::io::Result<()> {
        if let Some(dir) = termination_log.parent() {
            std::fs::create_dir_all(dir)?;
        }
        std::fs::write(termination_log, b"")?;
        crate::files::open_to_all(termination_log)?;
        match hosts {
            Some(path) => {
                let domain = &self.context.config.cluster_domain;
                std::fs::write(path, sandbox::hosts_file(self.pod, addresses, domain))
            }
            None => Ok(()),
        }
    }

    async fn sources(&self, spec: &Spec) -> Result<Sources, String> {
        let (namespace, _, _) = identity(self.pod);
        let (config_maps, secrets) = env::needs(spec);
        let mut sources = Sources { services: self.services(namespace), ..Sources::default() };
        for name in config_maps {
            let found = self.context.api.config_map(namespace, &name).await;
            if let Some(map) = found.map_err(|error| format!("failed to {error}"))? {
                sources.config_maps.insert(name, map);
            }
        }
        for name in secrets {
            let found = self.context.api.secret(namespace, &name).await;
            if let Some(secret) = found.map_err(|error| format!("failed to {error}"))? {
                sources.secrets.insert(name, secret);
            }
        }
        Ok(sources)
    }

    /// The API server's own Service, and those of the pod's namespace unless it wants none.
    fn services(
        &self,
        namespace: &str,
    ) -> Vec<Arc<hansa_api::k8s_openapi::api::core::v1::Service>> {
        let named = |name: &str| {
            let name = name.to_string();
            move |service: &Arc<hansa_api::k8s_openapi::api::core::v1::Service>| {
                service.metadata.name.as_deref() == Some(&name)
            }
        };
        let own = named("kubernetes");
        let mut all: Vec<_> =
            self.context.api.services("default").into_iter().filter(own).collect();
        let links = self.pod.spec.as_ref().and_then(|spec| spec.enable_service_links);
        if links != Some(false) {
            all.extend(self.context.api.services(namespace));
        }
        all
    }
}

/// Where a pod is to be reached: its own address, or the node's.
#[must_use]
pub fn address_of(context: &Context, sandbox: &Sandbox) -> String {
    let node = || context.config.address.to_string();
    sandbox.addresses.first().cloned().unwrap_or_else(node)
}

/// A sub-path that is not there yet becomes a folder.
fn make_sub_paths(spec: &Spec, config: &cri::ContainerConfig) -> std::io::Result<()> {
    let with_sub = spec.volume_mounts.iter().flatten().zip(&config.mounts);
    for (wanted, mount) in with_sub {
        let sub = wanted.sub_path.is_some() || wanted.sub_path_expr.is_some();
        if sub && !Path::new(&mount.host_path).exists() {
            std::fs::create_dir_all(&mount.host_path)?;
        }
    }
    Ok(())
}
