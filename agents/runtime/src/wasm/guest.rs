//! What one component instance sees: its environment, files, output and limits.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use wasmtime::component::ResourceTable;
use wasmtime::{Engine, ResourceLimiter, Store};
use wasmtime_wasi::sockets::SocketAddrUse;
use wasmtime_wasi::{FsPerms, WasiCtx, WasiCtxBuilder, WasiCtxView, WasiView};
use wasmtime_wasi_http::{WasiHttpCtx, WasiHttpCtxView, WasiHttpView};

use super::outgoing::Outgoing;
use crate::backend::{Start, Usage};
use crate::logs::{LogFile, LogStream, Stream};

/// What is the same for every instance of a container.
#[derive(Debug, Clone)]
pub struct GuestSpec {
    args: Vec<String>,
    env: Vec<(String, String)>,
    mounts: Vec<Mount>,
    log: Arc<LogFile>,
    usage: Arc<Usage>,
    memory_bytes: u64,
    address: IpAddr,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Mount {
    host: PathBuf,
    guest: String,
    readonly: bool,
}

impl GuestSpec {
    /// Reads it from the container's config. Mounts of single files are left out: WASI opens
    /// folders only.
    ///
    /// # Errors
    /// A mount does not exist on the host.
    pub fn new(start: &Start, default_memory_bytes: u64) -> Result<Self, String> {
        let config = &start.container.config;
        let mut args: Vec<_> = config.command.iter().chain(&config.args).cloned().collect();
        if config.command.is_empty() {
            args.insert(0, start.name().to_string());
        }
        let mut mounts = Vec::new();
        for mount in &config.mounts {
            let host = PathBuf::from(&mount.host_path);
            let data = std::fs::metadata(&host)
                .map_err(|error| format!("mount {}: {error}", host.display()))?;
            if data.is_dir() {
                let guest = mount.container_path.clone();
                mounts.push(Mount { host, guest, readonly: mount.readonly });
            }
        }
        let resources = config.linux.as_ref().and_then(|linux| linux.resources.as_ref());
        let limit = resources.map_or(0, |resources| resources.memory_limit_in_bytes);
        let memory_bytes = u64::try_from(limit).ok().filter(|limit| *limit > 0);
        Ok(Self {
            args,
            env: config.envs.iter().map(|kv| (kv.key.clone(), kv.value.clone())).collect(),
            mounts,
            log: start.log.clone(),
            usage: start.usage.clone(),
            memory_bytes: memory_bytes.unwrap_or(default_memory_bytes),
            address: start.address().into(),
        })
    }

    /// Counts processor time into the container's usage.
    #[must_use]
    pub fn usage(&self) -> &Arc<Usage> {
        &self.usage
    }

    /// Says something in the container's own log.
    pub fn complain(&self, text: &str) {
        self.log.write(Stream::Stderr, true, text.replace('\n', " ").as_bytes());
    }

    /// A store for one instance.
    ///
    /// # Errors
    /// A mount cannot be opened.
    pub fn store(&self, engine: &Engine) -> wasmtime::Result<Store<Guest>> {
        let limits = Limits { most: self.memory_bytes, held: 0, usage: self.usage.clone() };
        let guest = Guest {
            wasi: self.wasi()?,
            http: WasiHttpCtx::new(),
            outgoing: Outgoing,
            table: ResourceTable::new(),
            limits,
        };
        let mut store = Store::new(engine, guest);
        store.limiter(|guest| &mut guest.limits);
        store.set_epoch_deadline(1);
        store.epoch_deadline_async_yield_and_update(1);
        Ok(store)
    }

    fn wasi(&self) -> wasmtime::Result<WasiCtx> {
        let mut wasi = WasiCtxBuilder::new();
        wasi.args(&self.args).envs(&self.env);
        wasi.stdout(LogStream::new(self.log.clone(), Stream::Stdout));
        wasi.stderr(LogStream::new(self.log.clone(), Stream::Stderr));
        for mount in &self.mounts {
            let perms = if mount.readonly { FsPerms::ReadOnly } else { FsPerms::ReadWrite };
            wasi.preopened_dir(&mount.host, &mount.guest, perms)?;
        }
        let own = self.address;
        wasi.allow_ip_name_lookup(true).allow_tcp(true).allow_udp(true);
        wasi.socket_addr_check(move |address, usage| {
            let allowed = may_use(own, address, usage);
            Box::pin(async move { allowed })
        });
        Ok(wasi.build())
    }
}

/// A pod listens on its own address only; it may call any other.
fn may_use(own: IpAddr, address: SocketAddr, usage: SocketAddrUse) -> bool {
    match usage {
        SocketAddrUse::TcpListen => address.ip() == own,
        SocketAddrUse::TcpBind | SocketAddrUse::UdpBind => {
            address.ip() == own || address.ip().is_unspecified()
        }
        _ => true,
    }
}

/// The data of one instance's store.
pub struct Guest {
    wasi: WasiCtx,
    http: WasiHttpCtx,
    outgoing: Outgoing,
    table: ResourceTable,
    limits: Limits,
}

impl WasiView for Guest {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.table }
    }
}

impl WasiHttpView for Guest {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        WasiHttpCtxView { ctx: &mut self.http, table: &mut self.table, hooks: &mut self.outgoing }
    }
}

/// Bounds an instance's memory and counts it into the container's usage.
struct Limits {
    most: u64,
    held: u64,
    usage: Arc<Usage>,
}

impl ResourceLimiter for Limits {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        _: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let more = desired.saturating_sub(current) as u64;
        if self.held + more > self.most {
            return Ok(false);
        }
        self.held += more;
        self.usage.memory_bytes.fetch_add(more, Ordering::Relaxed);
        Ok(true)
    }

    fn table_growing(
        &mut self,
        _: usize,
        desired: usize,
        _: Option<usize>,
    ) -> wasmtime::Result<bool> {
        Ok(desired <= 1 << 20)
    }
}

impl Drop for Limits {
    fn drop(&mut self) {
        self.usage.memory_bytes.fetch_sub(self.held, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_bounded_counted_and_given_back() {
        let usage = Arc::new(Usage::default());
        let mut limits = Limits { most: 100, held: 0, usage: usage.clone() };
        assert!(limits.memory_growing(0, 60, None).unwrap());
        assert!(!limits.memory_growing(60, 160, None).unwrap());
        assert!(limits.memory_growing(60, 100, None).unwrap());
        assert_eq!(usage.read().1, 100);
        drop(limits);
        assert_eq!(usage.read().1, 0);
    }

    #[test]
    fn a_pod_cannot_listen_on_an_address_of_another() {
        let own: IpAddr = "127.64.1.2".parse().unwrap();
        let at = |text: &str| text.parse().unwrap();
        assert!(may_use(own, at("127.64.1.2:80"), SocketAddrUse::TcpListen));
        assert!(!may_use(own, at("127.64.1.3:80"), SocketAddrUse::TcpListen));
        assert!(!may_use(own, at("0.0.0.0:80"), SocketAddrUse::TcpListen));
        assert!(may_use(own, at("127.64.1.3:80"), SocketAddrUse::TcpConnect));
    }
}
