//! Who manages `spec.replicas` of an object manages it in the object's `scale` too, and the other way
//! round.

use serde_json::Value;

use super::element::{Path, field_path};
use super::managers::{self, Manager, Managers, ManagersError, Owned};
use super::set::Set;

/// Where the objects of a version keep their replicas.
#[derive(Clone, Debug)]
pub struct ScalePath {
    /// Such as `apps/v1`.
    pub api_version: String,
    /// The replicas; `None` if the version has no `scale`.
    pub replicas: Option<Path>,
}

const SCALE_VERSION: &str = "autoscaling/v1";

fn scale_set() -> Set {
    Set::of([&field_path(&["spec", "replicas"])])
}

fn replicas_of<'a>(paths: &'a [ScalePath], version: &str) -> Option<&'a Option<Path>> {
    paths.iter().find(|path| path.api_version == version).map(|path| &path.replicas)
}

/// The managed fields of an object's `scale`: the managers of its replicas.
///
/// # Errors
/// If the object's managed fields make no sense.
pub fn to_scale(object: &Value, paths: &[ScalePath]) -> Result<Vec<Value>, ManagersError> {
    let mut out = Managers::new();
    for (manager, owned) in read(object)? {
        let replicas = replicas_of(paths, &owned.api_version).and_then(Option::as_ref);
        if replicas.is_some_and(|replicas| owned.set.contains(replicas)) {
            let set = scale_set();
            let owned = Owned { set, api_version: SCALE_VERSION.into(), time: owned.time };
            out.insert(manager, owned);
        }
    }
    Ok(managers::encode(&out))
}

/// The managed fields of an object after a write to its `scale`.
///
/// # Errors
/// If the managed fields of either make no sense.
pub fn to_parent(
    object: &Value,
    scale: &Value,
    version: &str,
    paths: &[ScalePath],
) -> Result<Vec<Value>, ManagersError> {
    let parents = read(object)?;
    let mut scalers = read(scale)?;
    let mut out = Managers::new();
    for (manager, owned) in &parents {
        let Some(replicas) = replicas_of(paths, &owned.api_version) else { continue };
        let had = replicas.as_ref().filter(|replicas| owned.set.contains(replicas));
        let mut owned = owned.clone();
        if let Some(replicas) = had
            && scalers.remove(&at_version(manager, SCALE_VERSION)).is_none()
        {
            owned.set = owned.set.difference(&Set::of([replicas]));
        }
        if !owned.set.is_empty() {
            out.insert(manager.clone(), owned);
        }
    }
    if let Some(Some(replicas)) = replicas_of(paths, version) {
        for (manager, _) in scalers.into_iter().filter(|(_, owned)| owned.set == scale_set()) {
            let time = parents.get(&manager).and_then(|parent| parent.time.clone());
            let set = Set::of([replicas]);
            let owned = Owned { set, api_version: version.into(), time };
            out.insert(at_version(&manager, version), owned);
        }
    }
    Ok(managers::encode(&out))
}

/// A manager as it is known in a version.
fn at_version(manager: &Manager, version: &str) -> Manager {
    let Manager { name, operation, subresource, .. } = manager;
    Manager::new(name, *operation, version, subresource)
}

fn read(object: &Value) -> Result<Managers, ManagersError> {
    managers::decode(managers::of(object).map_or(&[][..], Vec::as_slice))
}
