//! Allocation of ClusterIPs and node ports.

use std::net::IpAddr;
use std::sync::Arc;

use hansa_api::field::FieldError;
use hansa_api::gvk::GroupVersionKind;
use hansa_api::meta::{self, fields_mut, int_at, list_at, str_at};
use hansa_api::status::ApiError;
use hansa_storage::Storage;
use jiff::Timestamp;
use rand::Rng;
use serde_json::{Value, json};

use super::claims::{self, Item, Owner};
use super::defaults::needs_health_check;
use super::{Services, has_cluster_ip, has_node_ports};
use crate::generic::context::Context;
use crate::generic::registry::Registry;
use crate::generic::strategy::Reservation;

/// Random picks before the whole range is walked.
const RANDOM_PICKS: usize = 32;

/// Takes what a Service needs and does not have, and writes it into the Service.
pub(super) async fn reserve(
    services: &Services,
    registry: &Arc<Registry>,
    ctx: &Context,
    obj: &mut Value,
    old: Option<&Value>,
) -> Result<Option<Box<dyn Reservation>>, ApiError> {
    let held = old.map(items).unwrap_or_default();
    let owner = Owner {
        namespace: meta::namespace(obj).into(),
        name: meta::name(obj).into(),
        at: Timestamp::now().as_second(),
    };
    let taken = Taken {
        storage: registry.storage().clone(),
        owner,
        items: Vec::new(),
        surplus: Vec::new(),
        committed: ctx.dry_run,
    };
    let mut allocation = Allocation { services, registry, held, taken, dry_run: ctx.dry_run };
    if has_cluster_ip(obj) {
        allocation.cluster_ip(obj).await?;
    }
    if has_node_ports(obj) {
        allocation.node_ports(obj).await?;
    }
    if needs_health_check(obj) {
        allocation.health_check_port(obj).await?;
    }
    let Allocation { held, mut taken, .. } = allocation;
    let kept = items(obj);
    taken.surplus = held.into_iter().filter(|item| !kept.contains(item)).collect();
    Ok(Some(Box::new(taken)))
}

/// Gives back what a deleted Service had.
pub(super) async fn release(registry: &Arc<Registry>, obj: &Value) {
    for item in items(obj) {
        claims::release(registry.storage(), &item, meta::namespace(obj), meta::name(obj)).await;
    }
}

/// Everything that a Service holds.
fn items(obj: &Value) -> Vec<Item> {
    let ips = list_at(obj, &["spec", "clusterIPs"]).iter().filter_map(Value::as_str);
    let mut items: Vec<_> =
        ips.filter(|ip| *ip != "None").map(|ip| Item::Address(ip.into())).collect();
    let ports = list_at(obj, &["spec", "ports"]).iter().map(|port| int_at(port, &["nodePort"]));
    let ports = ports.chain([int_at(obj, &["spec", "healthCheckNodePort"])]);
    for port in ports.flatten().filter_map(|port| u16::try_from(port).ok()).filter(|port| *port > 0)
    {
        if !items.contains(&Item::Port(port)) {
            items.push(Item::Port(port));
        }
    }
    items
}

/// Claims of one write; given back when dropped uncommitted.
struct Taken {
    storage: Arc<dyn Storage>,
    owner: Owner,
    items: Vec<Item>,
    /// What the Service had and no longer has.
    surplus: Vec<Item>,
    committed: bool,
}

impl Reservation for Taken {
    fn commit(mut self: Box<Self>) {
        self.committed = true;
        let surplus = std::mem::take(&mut self.surplus);
        self.give_back(surplus);
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        if !self.committed {
            let items = std::mem::take(&mut self.items);
            self.give_back(items);
        }
    }
}

impl Taken {
    fn give_back(&self, items: Vec<Item>) {
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        if items.is_empty() {
            return;
        }
        let (storage, owner) = (self.storage.clone(), self.owner.clone());
        runtime.spawn(async move {
            for item in items {
                claims::release(&storage, &item, &owner.namespace, &owner.name).await;
            }
        });
    }
}

struct Allocation<'a> {
    services: &'a Services,
    registry: &'a Arc<Registry>,
    held: Vec<Item>,
    taken: Taken,
    dry_run: bool,
}

impl Allocation<'_> {
    async fn cluster_ip(&mut self, obj: &mut Value) -> Result<(), ApiError> {
        let asked = str_at(obj, &["spec", "clusterIP"]).to_owned();
        let ip = match asked.as_str() {
            "None" => asked,
            "" => self.any_address(obj).await?,
            ip => {
                self.this_address(obj, ip).await?;
                asked
            }
        };
        let family = if ip.contains(':') { "IPv6" } else { self.services.addresses.family() };
        let spec = fields_mut(obj, &["spec"]);
        spec.insert("clusterIP".into(), ip.clone().into());
        spec.insert("clusterIPs".into(), json!([ip]));
        spec.insert("ipFamilies".into(), json!([family]));
        spec.insert("ipFamilyPolicy".into(), "SingleStack".into());
        Ok(())
    }

    async fn this_address(&mut self, obj: &Value, ip: &str) -> Result<(), ApiError> {
        let item = Item::Address(ip.into());
        if self.held.contains(&item) {
            return Ok(());
        }
        let range = self.services.addresses;
        let refuse = |why: String| {
            let detail = format!("failed to allocate IP {ip}: {why}");
            invalid(obj, FieldError::invalid("spec.clusterIPs", json!([ip]), detail))
        };
        let parsed: Option<IpAddr> = ip.parse().ok();
        if !parsed.is_some_and(|ip| range.contains(ip)) {
            return Err(refuse(format!(
                "the provided IP ({ip}) is not in the valid range. The range of valid IPs is \
                 {range}"
            )));
        }
        match self.take(item).await? {
            true => Ok(()),
            false => Err(refuse("provided IP is already allocated".into())),
        }
    }

    async fn any_address(&mut self, obj: &Value) -> Result<String, ApiError> {
        let range = self.services.addresses;
        let (band, size) = (range.static_band(), range.size());
        for _ in 0..RANDOM_PICKS {
            let offset = rand::rng().random_range(band.min(size)..size.max(band + 1));
            if let Some(ip) = self.try_address(range.at(offset)).await? {
                return Ok(ip);
            }
        }
        for offset in (band..size).chain(1..band) {
            if let Some(ip) = self.try_address(range.at(offset)).await? {
                return Ok(ip);
            }
        }
        let why = "failed to allocate a serviceIP: range is full";
        Err(invalid(
            obj,
            FieldError::new(
                hansa_api::FieldErrorType::Internal,
                "spec.clusterIPs",
                Value::Null,
                why,
            ),
        ))
    }

    async fn try_address(&mut self, ip: IpAddr) -> Result<Option<String>, ApiError> {
        let ip = ip.to_string();
        Ok(self.take(Item::Address(ip.clone())).await?.then_some(ip))
    }

    async fn node_ports(&mut self, obj: &mut Value) -> Result<(), ApiError> {
        let count = list_at(obj, &["spec", "ports"]).len();
        let mut chosen: Vec<(i64, u16)> = Vec::new();
        for at in 0..count {
            let port = &obj["spec"]["ports"][at];
            let (number, asked) =
                (int_at(port, &["port"]).unwrap_or_default(), int_at(port, &["nodePort"]));
            let shared = chosen.iter().find(|(other, _)| *other == number).map(|(_, port)| *port);
            let given = match asked.filter(|asked| *asked != 0) {
                Some(asked) => {
                    let path = format!("spec.ports[{at}].nodePort");
                    self.this_port(obj, &path, asked).await?
                }
                None => match shared {
                    Some(port) => port,
                    None => self.any_port(obj).await?,
                },
            };
            chosen.push((number, given));
            obj["spec"]["ports"][at]["nodePort"] = given.into();
        }
        Ok(())
    }

    async fn health_check_port(&mut self, obj: &mut Value) -> Result<(), ApiError> {
        let path = "spec.healthCheckNodePort";
        let port = match int_at(obj, &["spec", "healthCheckNodePort"]).filter(|port| *port != 0) {
            Some(asked) => self.this_port(obj, path, asked).await?,
            None => self.any_port(obj).await?,
        };
        fields_mut(obj, &["spec"]).insert("healthCheckNodePort".into(), port.into());
        Ok(())
    }

    async fn this_port(&mut self, obj: &Value, path: &str, asked: i64) -> Result<u16, ApiError> {
        let (low, high) = self.services.node_ports;
        let port = u16::try_from(asked).ok().filter(|port| (low..=high).contains(port));
        let held = u16::try_from(asked).is_ok_and(|port| self.held.contains(&Item::Port(port)));
        let port = match port {
            Some(port) => port,
            None if held => u16::try_from(asked).unwrap_or(high),
            None => {
                let why = format!(
                    "provided port is not in the valid range. The range of valid ports is \
                     {low}-{high}"
                );
                return Err(invalid(obj, FieldError::invalid(path, asked, why)));
            }
        };
        let item = Item::Port(port);
        if self.held.contains(&item) || self.taken.items.contains(&item) || self.take(item).await? {
            return Ok(port);
        }
        let why = "provided port is already allocated";
        Err(invalid(obj, FieldError::invalid(path, asked, why)))
    }

    async fn any_port(&mut self, obj: &Value) -> Result<u16, ApiError> {
        let (low, high) = self.services.node_ports;
        for _ in 0..RANDOM_PICKS {
            let port = rand::rng().random_range(low..=high);
            if self.take(Item::Port(port)).await? {
                return Ok(port);
            }
        }
        for port in low..=high {
            if self.take(Item::Port(port)).await? {
                return Ok(port);
            }
        }
        let why = "failed to allocate a nodePort: range is full";
        Err(invalid(
            obj,
            FieldError::new(
                hansa_api::FieldErrorType::Internal,
                "spec.ports[0].nodePort",
                Value::Null,
                why,
            ),
        ))
    }

    /// Claims an item, or takes over a claim whose Service does not hold it.
    async fn take(&mut self, item: Item) -> Result<bool, ApiError> {
        if self.taken.items.contains(&item) || self.held.contains(&item) {
            return Ok(false);
        }
        let storage = self.taken.storage.clone();
        if self.dry_run {
            let free = claims::find(&storage, &item).await?.is_none();
            if free {
                self.taken.items.push(item);
            }
            return Ok(free);
        }
        let owner = self.taken.owner.clone();
        let taken = match claims::claim(&storage, &item, &owner, None).await? {
            Ok(()) => true,
            Err(claim) if self.is_stale(&item, &claim).await? => {
                claims::claim(&storage, &item, &owner, Some(&claim)).await?.is_ok()
            }
            Err(_) => false,
        };
        if taken {
            self.taken.items.push(item);
        }
        Ok(taken)
    }

    async fn is_stale(&self, item: &Item, claim: &claims::Claim) -> Result<bool, ApiError> {
        if !claim.is_settled(self.taken.owner.at) {
            return Ok(false);
        }
        let Some(owner) = &claim.owner else { return Ok(true) };
        let served = self.registry.served("", "services")?;
        match self.registry.get(&served, &owner.namespace, &owner.name).await {
            Ok(service) => Ok(!items(&service).contains(item)),
            Err(error) if error.is_not_found() => Ok(true),
            Err(error) => Err(error),
        }
    }
}

fn invalid(obj: &Value, error: FieldError) -> ApiError {
    ApiError::invalid(&GroupVersionKind::new("", "v1", "Service"), meta::name(obj), &[error])
}
