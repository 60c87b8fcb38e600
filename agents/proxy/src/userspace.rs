//! The userspace backend: listens on the Services' addresses in this process and carries the bytes.
//!
//! It needs no rights beyond binding the addresses, so it is what an embedded cluster without root
//! uses. An address without endpoints is not listened on: its connections are refused, as with any
//! other backend.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::{Mutex, RwLock};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::rules::{Frontend, Protocol, Target};
use crate::tracker::Changes;

/// How long a connection to an endpoint may take before another endpoint is tried.
const CONNECT: Duration = Duration::from_secs(2);
/// A UDP client that is silent for this long is forgotten.
const UDP_IDLE: Duration = Duration::from_secs(60);
/// Largest UDP payload.
const DATAGRAM: usize = 65_535;

/// The listeners of all addresses.
#[derive(Default)]
pub struct Userspace {
    open: BTreeMap<Frontend, Opened>,
    /// Addresses that could not be opened, with the last error told.
    failed: BTreeMap<Frontend, (Target, String)>,
}

struct Opened {
    balancer: Arc<Balancer>,
    /// Ends the listener; connections that are under way go on.
    _listening: DropGuard,
}

impl Userspace {
    /// Makes the changes so.
    pub async fn apply(&mut self, changes: Changes) {
        for frontend in &changes.removed {
            self.open.remove(frontend);
            self.failed.remove(frontend);
        }
        for (frontend, target) in changes.set {
            self.set(frontend, target).await;
        }
    }

    /// Tries again what could not be opened.
    pub async fn retry(&mut self) {
        for (frontend, (target, _)) in self.failed.clone() {
            self.set(frontend, target).await;
        }
    }

    /// Ends all listeners.
    pub fn close(&mut self) {
        self.open.clear();
        self.failed.clear();
    }

    async fn set(&mut self, frontend: Frontend, target: Target) {
        if target.endpoints.is_empty() {
            self.open.remove(&frontend);
            self.failed.remove(&frontend);
            return;
        }
        if let Some(opened) = self.open.get(&frontend) {
            opened.balancer.set(target);
            return;
        }
        match open(frontend, target.clone()).await {
            Ok(opened) => {
                self.failed.remove(&frontend);
                self.open.insert(frontend, opened);
            }
            Err(error) => self.note_failure(frontend, target, &error),
        }
    }

    /// Says once why an address cannot be served; ports below 1024 need a right that we may lack.
    fn note_failure(&mut self, frontend: Frontend, target: Target, error: &std::io::Error) {
        let text = error.to_string();
        let told = self.failed.get(&frontend).is_some_and(|(_, last)| *last == text);
        if !told {
            let (address, service) = (frontend.address, &target.service);
            tracing::warn!(%address, %service, error = %text, "failed to serve an address, will retry");
        }
        self.failed.insert(frontend, (target, text));
    }
}

async fn open(frontend: Frontend, target: Target) -> std::io::Result<Opened> {
    let balancer = Arc::new(Balancer::new(target));
    let stop = CancellationToken::new();
    match frontend.protocol {
        Protocol::Tcp => {
            let listener = TcpListener::bind(frontend.address).await?;
            tokio::spawn(accept(listener, balancer.clone(), stop.clone()));
        }
        Protocol::Udp => {
            let socket = UdpSocket::bind(frontend.address).await?;
            tokio::spawn(relay(Arc::new(socket), balancer.clone(), stop.clone()));
        }
    }
    Ok(Opened { balancer, _listening: stop.drop_guard() })
}

/// Chooses endpoints: in turn, or the same one for a client, where the Service wants that.
struct Balancer {
    target: RwLock<Target>,
    next: AtomicUsize,
    sticky: Mutex<HashMap<IpAddr, (SocketAddr, Instant)>>,
}

impl Balancer {
    fn new(target: Target) -> Self {
        Self { target: RwLock::new(target), next: AtomicUsize::new(0), sticky: Mutex::default() }
    }

    fn set(&self, target: Target) {
        *self.target.write() = target;
    }

    /// Whether this is one of the endpoints.
    fn has(&self, endpoint: SocketAddr) -> bool {
        self.target.read().endpoints.contains(&endpoint)
    }

    /// All endpoints, in the order in which they are to be tried for this client.
    fn choose(&self, client: IpAddr) -> Vec<SocketAddr> {
        let target = self.target.read();
        let mut order = target.endpoints.clone();
        if order.is_empty() {
            return order;
        }
        let first = self.next.fetch_add(1, Ordering::Relaxed) % order.len();
        order.rotate_left(first);
        if let Some(timeout) = target.affinity {
            self.prefer_known(client, timeout, &mut order);
        }
        order
    }

    fn prefer_known(&self, client: IpAddr, timeout: Duration, order: &mut [SocketAddr]) {
        let mut sticky = self.sticky.lock();
        let now = Instant::now();
        sticky.retain(|_, (_, seen)| now.duration_since(*seen) < timeout);
        let known = sticky.get(&client).map(|(endpoint, _)| *endpoint);
        let index = order.iter().position(|endpoint| Some(*endpoint) == known);
        order.swap(0, index.unwrap_or(0));
        sticky.insert(client, (order[0], now));
    }
}

async fn accept(listener: TcpListener, balancer: Arc<Balancer>, stop: CancellationToken) {
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, client)) => {
                tokio::spawn(carry(stream, client.ip(), balancer.clone()));
            }
            Err(error) => {
                // Out of file descriptors, most likely: others may end meanwhile.
                tracing::debug!(%error, "failed to accept a connection");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn carry(mut client: TcpStream, ip: IpAddr, balancer: Arc<Balancer>) {
    for endpoint in balancer.choose(ip) {
        let connecting = tokio::time::timeout(CONNECT, TcpStream::connect(endpoint));
        if let Ok(Ok(mut server)) = connecting.await {
            let _ = (client.set_nodelay(true), server.set_nodelay(true));
            let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
            return;
        }
    }
}

type Clients = Arc<Mutex<HashMap<SocketAddr, Arc<UdpSocket>>>>;

/// Every client has a socket of its own towards its endpoint, until it falls silent.
async fn relay(socket: Arc<UdpSocket>, balancer: Arc<Balancer>, stop: CancellationToken) {
    let clients: Clients = Arc::default();
    let mut buffer = vec![0; DATAGRAM];
    loop {
        let received = tokio::select! {
            () = stop.cancelled() => return,
            received = socket.recv_from(&mut buffer) => received,
        };
        let Ok((length, client)) = received else { continue };
        let known = clients.lock().get(&client).cloned();
        let serves = |upstream: &Arc<UdpSocket>| {
            upstream.peer_addr().is_ok_and(|endpoint| balancer.has(endpoint))
        };
        // A client that goes on talking must not be kept with an endpoint that is gone.
        let upstream = match known.filter(serves) {
            Some(upstream) => upstream,
            None => match connect_udp(&balancer, client).await {
                Ok(upstream) => {
                    clients.lock().insert(client, upstream.clone());
                    let answers = (socket.clone(), upstream.clone(), clients.clone());
                    tokio::spawn(answer(answers.0, answers.1, client, answers.2));
                    upstream
                }
                Err(error) => {
                    tracing::debug!(%client, %error, "failed to reach an endpoint");
                    continue;
                }
            },
        };
        let _ = upstream.send(&buffer[..length]).await;
    }
}

async fn connect_udp(balancer: &Balancer, client: SocketAddr) -> std::io::Result<Arc<UdpSocket>> {
    let endpoint = balancer.choose(client.ip()).into_iter().next();
    let endpoint = endpoint.ok_or(std::io::ErrorKind::ConnectionRefused)?;
    let any = if endpoint.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    let upstream = UdpSocket::bind(any).await?;
    upstream.connect(endpoint).await?;
    Ok(Arc::new(upstream))
}

async fn answer(
    socket: Arc<UdpSocket>,
    upstream: Arc<UdpSocket>,
    client: SocketAddr,
    clients: Clients,
) {
    let mut buffer = vec![0; DATAGRAM];
    while let Ok(Ok(length)) = tokio::time::timeout(UDP_IDLE, upstream.recv(&mut buffer)).await {
        let _ = socket.send_to(&buffer[..length], client).await;
    }
    let mut clients = clients.lock();
    if clients.get(&client).is_some_and(|now| Arc::ptr_eq(now, &upstream)) {
        clients.remove(&client);
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    /// Answers every connection with its own name.
    async fn server(name: &'static str) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let _ = stream.write_all(name.as_bytes()).await;
            }
        });
        address
    }

    fn target(endpoints: Vec<SocketAddr>, affinity: Option<Duration>) -> Target {
        Target { service: "default/web:http".into(), endpoints, affinity }
    }

    /// An address that nobody else has: of this process alone, at a port that is never given out.
    fn own(protocol: Protocol) -> Frontend {
        static COUNT: AtomicUsize = AtomicUsize::new(1);
        let [_, _, high, low] = std::process::id().to_be_bytes();
        let last = u8::try_from(COUNT.fetch_add(1, Ordering::Relaxed)).unwrap();
        Frontend { address: SocketAddr::from(([127, 192 | high & 63, low, last], 8080)), protocol }
    }

    fn set(frontend: Frontend, target: Target) -> Changes {
        Changes { set: BTreeMap::from([(frontend, target)]), ..Changes::default() }
    }

    async fn ask(frontend: Frontend) -> std::io::Result<String> {
        let mut text = String::new();
        TcpStream::connect(frontend.address).await?.read_to_string(&mut text).await?;
        Ok(text)
    }

    #[tokio::test]
    async fn connections_go_to_the_endpoints_in_turn() {
        let endpoints = vec![server("a").await, server("b").await];
        let mut proxy = Userspace::default();
        let frontend = own(Protocol::Tcp);
        proxy.apply(set(frontend, target(endpoints, None))).await;
        let mut seen = vec![ask(frontend).await.unwrap(), ask(frontend).await.unwrap()];
        seen.sort();
        assert_eq!(seen, ["a", "b"]);
    }

    #[tokio::test]
    async fn a_client_keeps_its_endpoint_where_wanted() {
        let endpoints = vec![server("a").await, server("b").await];
        let mut proxy = Userspace::default();
        let frontend = own(Protocol::Tcp);
        let sticky = target(endpoints, Some(Duration::from_secs(60)));
        proxy.apply(set(frontend, sticky)).await;
        let first = ask(frontend).await.unwrap();
        for _ in 0..4 {
            assert_eq!(ask(frontend).await.unwrap(), first);
        }
    }

    #[tokio::test]
    async fn a_dead_endpoint_is_passed_over_and_none_at_all_refuses() {
        let dead = own(Protocol::Tcp).address;
        let mut proxy = Userspace::default();
        let frontend = own(Protocol::Tcp);
        proxy.apply(set(frontend, target(vec![dead, server("b").await], None))).await;
        for _ in 0..3 {
            assert_eq!(ask(frontend).await.unwrap(), "b");
        }
        proxy.apply(set(frontend, target(Vec::new(), None))).await;
        tokio::task::yield_now().await;
        let refused = async {
            while ask(frontend).await.is_ok() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), refused).await.expect("the listener closes");
    }

    #[tokio::test]
    async fn datagrams_are_answered_to_the_one_who_asked() {
        let echo = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let endpoint = echo.local_addr().unwrap();
        tokio::spawn(async move {
            let mut buffer = [0; 64];
            while let Ok((length, from)) = echo.recv_from(&mut buffer).await {
                let _ = echo.send_to(&buffer[..length], from).await;
            }
        });
        let mut proxy = Userspace::default();
        let frontend = own(Protocol::Udp);
        proxy.apply(set(frontend, target(vec![endpoint], None))).await;
        let client = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        client.send_to(b"ping", frontend.address).await.unwrap();
        let mut buffer = [0; 64];
        let (length, from) = client.recv_from(&mut buffer).await.unwrap();
        assert_eq!((&buffer[..length], from), (&b"ping"[..], frontend.address));
    }

    /// Answers every datagram with its own name.
    async fn named(name: &'static str) -> SocketAddr {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        tokio::spawn(async move {
            let mut buffer = [0; 64];
            while let Ok((_, from)) = socket.recv_from(&mut buffer).await {
                let _ = socket.send_to(name.as_bytes(), from).await;
            }
        });
        address
    }

    #[tokio::test]
    async fn a_talking_client_moves_on_when_its_endpoint_is_gone() {
        let mut proxy = Userspace::default();
        let frontend = own(Protocol::Udp);
        let client = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        client.connect(frontend.address).await.unwrap();
        let mut answers = Vec::new();
        for name in ["a", "b"] {
            proxy.apply(set(frontend, target(vec![named(name).await], None))).await;
            let mut buffer = [0; 64];
            client.send(b"who?").await.unwrap();
            let length = client.recv(&mut buffer).await.unwrap();
            answers.push(String::from_utf8_lossy(&buffer[..length]).into_owned());
        }
        assert_eq!(answers, ["a", "b"]);
    }
}
