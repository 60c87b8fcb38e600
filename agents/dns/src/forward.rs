//! Questions that are not the cluster's go to the machine's own resolvers, as they came.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};

/// How long one resolver may take.
const PATIENCE: Duration = Duration::from_secs(2);

/// The resolvers of a resolv.conf, on port 53. Those in `avoid` are left out: a server that asked
/// itself would ask for ever.
pub fn resolvers(resolv_conf: &str, avoid: &[IpAddr]) -> Vec<SocketAddr> {
    let lines = resolv_conf.lines().map(|line| line.split(['#', ';']).next().unwrap_or_default());
    let servers = lines.filter_map(|line| line.trim().strip_prefix("nameserver"));
    let addresses = servers.filter_map(|address| address.trim().parse::<IpAddr>().ok());
    addresses.filter(|ip| !avoid.contains(ip)).map(|ip| SocketAddr::new(ip, 53)).collect()
}

/// Asks the resolvers in turn; the first answer counts. `None` if none answers.
pub async fn ask(query: &[u8], upstreams: &[SocketAddr], tcp: bool) -> Option<Vec<u8>> {
    for upstream in upstreams {
        let asking = async {
            match tcp {
                true => over_tcp(query, *upstream).await,
                false => over_udp(query, *upstream).await,
            }
        };
        if let Ok(Ok(answer)) = tokio::time::timeout(PATIENCE, asking).await {
            return Some(answer);
        }
    }
    None
}

async fn over_udp(query: &[u8], upstream: SocketAddr) -> std::io::Result<Vec<u8>> {
    let any = if upstream.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    let socket = UdpSocket::bind(any).await?;
    socket.connect(upstream).await?;
    socket.send(query).await?;
    let mut buffer = vec![0; 65_535];
    loop {
        let length = socket.recv(&mut buffer).await?;
        // Only the answer to this very question: its number is the same.
        if length >= 12 && buffer[..2] == query[..2] {
            buffer.truncate(length);
            return Ok(buffer);
        }
    }
}

async fn over_tcp(query: &[u8], upstream: SocketAddr) -> std::io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(upstream).await?;
    let length = u16::try_from(query.len()).map_err(std::io::Error::other)?;
    stream.write_all(&length.to_be_bytes()).await?;
    stream.write_all(query).await?;
    let mut answer = vec![0; usize::from(stream.read_u16().await?)];
    stream.read_exact(&mut answer).await?;
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resolvers_are_read_without_ourselves() {
        let text =
            "# by hand\nsearch lan\nnameserver 192.0.2.1 # first\nnameserver 127.64.128.10\n";
        let avoid = ["127.64.128.10".parse().unwrap()];
        assert_eq!(resolvers(text, &avoid), ["192.0.2.1:53".parse().unwrap()]);
    }
}
