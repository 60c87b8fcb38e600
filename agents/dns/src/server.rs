//! Questions in, answers out, over UDP and TCP.

use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use hickory_proto::op::{Message, OpCode, Query, ResponseCode};
use hickory_proto::rr::rdata::{CNAME, PTR, SOA, SRV};
use hickory_proto::rr::{Name, RData, Record, RecordType};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};

use crate::forward;
use crate::records::Data;
use crate::zone::{Answer, Question, Zone};

/// Seconds that an answer may be kept; short, because endpoints come and go.
const TTL: u32 = 5;
/// A silent TCP client is dropped.
const TCP_IDLE: Duration = Duration::from_secs(10);

/// A bound server.
pub struct Server {
    udp: Arc<UdpSocket>,
    tcp: TcpListener,
    address: SocketAddr,
    desk: Arc<Desk>,
}

/// What answers need.
struct Desk {
    zone: Arc<Zone>,
    upstreams: Vec<SocketAddr>,
}

impl Server {
    /// Binds the first of these addresses that can be had, for UDP and TCP.
    ///
    /// # Errors
    /// If none can be bound; the error is that of the last.
    pub async fn bind(
        addresses: &[SocketAddr],
        zone: Arc<Zone>,
        upstreams: Vec<SocketAddr>,
    ) -> anyhow::Result<Self> {
        let desk = Arc::new(Desk { zone, upstreams });
        let mut last = anyhow::anyhow!("failed to bind: no address was given");
        for wanted in addresses {
            match bind_both(*wanted).await {
                Ok((udp, tcp, address)) => {
                    return Ok(Self { udp: Arc::new(udp), tcp, address, desk });
                }
                Err(error) => {
                    last = anyhow::Error::from(error).context(format!("failed to bind {wanted}"));
                }
            }
        }
        Err(last)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers for as long as it is polled.
    pub async fn serve(&self) {
        tokio::join!(self.serve_udp(), self.serve_tcp());
    }

    async fn serve_udp(&self) {
        let mut buffer = vec![0; 65_535];
        loop {
            let Ok((length, client)) = self.udp.recv_from(&mut buffer).await else { continue };
            let (query, desk, socket) =
                (buffer[..length].to_vec(), self.desk.clone(), self.udp.clone());
            tokio::spawn(async move {
                if let Some(answer) = desk.answer(&query, false).await {
                    let _ = socket.send_to(&answer, client).await;
                }
            });
        }
    }

    async fn serve_tcp(&self) {
        loop {
            match self.tcp.accept().await {
                Ok((stream, _)) => {
                    tokio::spawn(converse(stream, self.desk.clone()));
                }
                Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
            }
        }
    }
}

async fn bind_both(wanted: SocketAddr) -> std::io::Result<(UdpSocket, TcpListener, SocketAddr)> {
    let tcp = TcpListener::bind(wanted).await?;
    let address = tcp.local_addr()?;
    Ok((UdpSocket::bind(address).await?, tcp, address))
}

/// RFC 7766: length and message, as many as the client likes.
async fn converse(mut stream: TcpStream, desk: Arc<Desk>) {
    loop {
        let read = async {
            let mut query = vec![0; usize::from(stream.read_u16().await?)];
            stream.read_exact(&mut query).await?;
            std::io::Result::Ok(query)
        };
        let Ok(Ok(query)) = tokio::time::timeout(TCP_IDLE, read).await else { return };
        let Some(answer) = desk.answer(&query, true).await else { return };
        let Ok(length) = u16::try_from(answer.len()) else { return };
        let written = async {
            stream.write_all(&length.to_be_bytes()).await?;
            stream.write_all(&answer).await
        };
        if written.await.is_err() {
            return;
        }
    }
}

impl Desk {
    /// The answer to a query; `None` for what is no query at all.
    async fn answer(&self, query: &[u8], tcp: bool) -> Option<Vec<u8>> {
        let request = match Message::from_vec(query) {
            Ok(request) => request,
            Err(_) => return malformed(query),
        };
        let [question] = request.queries.as_slice() else {
            return encode(&refuse(&request, ResponseCode::FormErr), &request, tcp);
        };
        if request.metadata.op_code != OpCode::Query {
            return encode(&refuse(&request, ResponseCode::NotImp), &request, tcp);
        }
        let name = question.name().to_lowercase().to_string();
        let found = self.zone.answer(name.trim_end_matches('.'), kind(question.query_type()));
        let response = match found {
            Answer::Records(records) => self.with_records(&request, question, &records),
            Answer::NoName => self.negative(&request, ResponseCode::NXDomain),
            Answer::NotOurs => {
                return match forward::ask(query, &self.upstreams, tcp).await {
                    Some(answer) => Some(answer),
                    None => encode(&refuse(&request, self.unreachable()), &request, tcp),
                };
            }
        };
        encode(&response, &request, tcp)
    }

    fn unreachable(&self) -> ResponseCode {
        if self.upstreams.is_empty() { ResponseCode::Refused } else { ResponseCode::ServFail }
    }

    fn with_records(
        &self,
        request: &Message,
        question: &Query,
        records: &[crate::records::Record],
    ) -> Message {
        if records.is_empty() {
            return self.negative(request, ResponseCode::NoError);
        }
        let mut response = respond(request);
        let own = question.name().to_lowercase();
        for (name, data) in records {
            // The name is given back in the letters in which it was asked for.
            let asked = Name::from_str(name).ok().filter(|name| !same(name, &own));
            let name = asked.unwrap_or_else(|| question.name().clone());
            response.answers.extend(record(name, data));
        }
        response
    }

    /// No such name, or nothing of this type: with the SOA that says how long that holds (RFC 2308).
    fn negative(&self, request: &Message, code: ResponseCode) -> Message {
        let mut response = respond(request);
        response.metadata.response_code = code;
        response.authorities.extend(soa(self.zone.domain()));
        response
    }
}

fn same(a: &Name, b: &Name) -> bool {
    a.to_string().trim_end_matches('.') == b.to_string().trim_end_matches('.')
}

fn kind(record_type: RecordType) -> Question {
    match record_type {
        RecordType::A => Question::V4,
        RecordType::AAAA => Question::V6,
        RecordType::SRV => Question::Service,
        RecordType::PTR => Question::Pointer,
        RecordType::CNAME => Question::Alias,
        RecordType::ANY => Question::All,
        _ => Question::Other,
    }
}

fn record(name: Name, data: &Data) -> Option<Record> {
    let full = |name: &str| Name::from_str(&format!("{name}.")).ok();
    let data = match data {
        Data::Address(IpAddr::V4(ip)) => RData::A((*ip).into()),
        Data::Address(IpAddr::V6(ip)) => RData::AAAA((*ip).into()),
        Data::Service { port, target } => RData::SRV(SRV::new(0, 100, *port, full(target)?)),
        Data::Alias(target) => RData::CNAME(CNAME(full(target)?)),
        Data::Pointer(target) => RData::PTR(PTR(full(target)?)),
    };
    Some(Record::from_rdata(name, TTL, data))
}

fn soa(domain: &str) -> Option<Record> {
    let name = |text: String| Name::from_str(&text).ok();
    let (server, mail) =
        (name(format!("ns.dns.{domain}."))?, name(format!("hostmaster.{domain}."))?);
    let data = SOA::new(server, mail, 1, 7200, 1800, 86_400, TTL);
    Some(Record::from_rdata(name(format!("{domain}."))?, TTL, RData::SOA(data)))
}

fn respond(request: &Message) -> Message {
    let mut response = Message::response(request.metadata.id, request.metadata.op_code);
    response.metadata.recursion_desired = request.metadata.recursion_desired;
    response.metadata.recursion_available = true;
    response.metadata.authoritative = true;
    response.queries.clone_from(&request.queries);
    if request.edns.is_some() {
        response.edns = Some(hickory_proto::op::Edns::default());
    }
    response
}

fn refuse(request: &Message, code: ResponseCode) -> Message {
    let mut response = respond(request);
    response.metadata.authoritative = false;
    response.metadata.response_code = code;
    response
}

/// FORMERR under the question's own number, if it has that much.
fn malformed(query: &[u8]) -> Option<Vec<u8>> {
    let id = u16::from_be_bytes(query.get(..2)?.try_into().ok()?);
    let is_response = query.get(2)? & 0x80 != 0;
    if is_response {
        return None;
    }
    Message::error_msg(id, OpCode::Query, ResponseCode::FormErr).to_vec().ok()
}

/// Over UDP an answer that is too long for the client is cut and marked, so that it asks over TCP.
fn encode(response: &Message, request: &Message, tcp: bool) -> Option<Vec<u8>> {
    let bytes = response.to_vec().ok()?;
    if tcp || bytes.len() <= usize::from(request.max_payload()) {
        return Some(bytes);
    }
    let mut cut = response.clone();
    cut.answers.clear();
    cut.metadata.truncation = true;
    cut.to_vec().ok()
}

#[cfg(test)]
mod tests {
    use hansa_client::ObjectKey;

    use super::*;

    async fn server(upstreams: Vec<SocketAddr>) -> (SocketAddr, Arc<Zone>) {
        let zone = Arc::new(Zone::new("cluster.local"));
        // The port that TCP is given may be taken for UDP.
        let server = loop {
            let any = ["127.0.0.1:0".parse().unwrap()];
            if let Ok(server) = Server::bind(&any, zone.clone(), upstreams.clone()).await {
                break server;
            }
        };
        let address = server.address();
        tokio::spawn(async move { server.serve().await });
        (address, zone)
    }

    fn question(name: &str, record_type: RecordType) -> Message {
        let mut message = Message::query();
        message.metadata.recursion_desired = true;
        message.add_query(Query::query(Name::from_str(name).unwrap(), record_type));
        message
    }

    async fn ask(address: SocketAddr, message: &Message, tcp: bool) -> Message {
        let bytes = message.to_vec().unwrap();
        Message::from_vec(&reply(address, &bytes, tcp).await).unwrap()
    }

    /// Asks again until there is an answer: a busy machine is late at times.
    async fn reply(address: SocketAddr, query: &[u8], tcp: bool) -> Vec<u8> {
        loop {
            if let Some(answer) = forward::ask(query, &[address], tcp).await {
                return answer;
            }
        }
    }

    fn many(count: u8) -> Vec<crate::records::Record> {
        let name = "web.shop.svc.cluster.local".to_owned();
        (0..count).map(|n| (name.clone(), Data::Address(IpAddr::from([10, 0, 0, n])))).collect()
    }

    #[tokio::test]
    async fn a_service_is_found_whatever_the_letters() {
        let (address, zone) = server(Vec::new()).await;
        zone.set(ObjectKey::new("shop", "web"), many(1));
        let query = question("Web.shop.SVC.cluster.local.", RecordType::A);
        let answer = ask(address, &query, false).await;
        assert_eq!(answer.metadata.response_code, ResponseCode::NoError);
        assert_eq!(answer.answers.len(), 1);
        assert!(answer.metadata.authoritative);
    }

    #[tokio::test]
    async fn an_unknown_name_is_denied_with_an_soa() {
        let (address, _zone) = server(Vec::new()).await;
        let query = question("no.shop.svc.cluster.local.", RecordType::A);
        let answer = ask(address, &query, false).await;
        assert_eq!(answer.metadata.response_code, ResponseCode::NXDomain);
        assert_eq!(answer.authorities.len(), 1);
    }

    #[tokio::test]
    async fn a_long_answer_is_cut_over_udp_and_whole_over_tcp() {
        let (address, zone) = server(Vec::new()).await;
        zone.set(ObjectKey::new("shop", "web"), many(100));
        let query = question("web.shop.svc.cluster.local.", RecordType::A);
        let cut = ask(address, &query, false).await;
        assert!(cut.metadata.truncation && cut.answers.is_empty());
        assert_eq!(ask(address, &query, true).await.answers.len(), 100);
    }

    #[tokio::test]
    async fn services_ports_and_addresses_can_be_asked_for_backwards() {
        let (address, zone) = server(Vec::new()).await;
        let name = "web.shop.svc.cluster.local";
        let records = vec![
            (name.to_owned(), Data::Address("fd00::9".parse().unwrap())),
            (format!("_http._tcp.{name}"), Data::Service { port: 80, target: name.into() }),
            ("9.0.96.10.in-addr.arpa".to_owned(), Data::Pointer(name.into())),
        ];
        zone.set(ObjectKey::new("shop", "web"), records);
        let said = async |name: &str, record_type| {
            let answer = ask(address, &question(name, record_type), false).await;
            answer.answers.iter().map(|record| record.data.to_string()).collect::<Vec<_>>()
        };
        let port = said("_http._tcp.web.shop.svc.cluster.local.", RecordType::SRV).await;
        assert_eq!(port, ["0 100 80 web.shop.svc.cluster.local."]);
        let pointer = said("9.0.96.10.in-addr.arpa.", RecordType::PTR).await;
        assert_eq!(pointer, ["web.shop.svc.cluster.local."]);
        let own = "web.shop.svc.cluster.local.";
        assert_eq!(said(own, RecordType::AAAA).await, ["fd00::9"]);
        assert!(said(own, RecordType::A).await.is_empty(), "the name has no such address");
    }

    #[tokio::test]
    async fn the_next_resolver_is_asked_when_one_does_not_answer() {
        let silent = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let (upstream, zone) = server(Vec::new()).await;
        let record = ("elsewhere.test".to_owned(), Data::Address("192.0.2.7".parse().unwrap()));
        zone.set(ObjectKey::new("", "elsewhere"), vec![record]);
        let (address, _zone) = server(vec![silent.local_addr().unwrap(), upstream]).await;
        let query = question("elsewhere.test.", RecordType::A).to_vec().unwrap();
        let client = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        client.send_to(&query, address).await.unwrap();
        let mut answer = vec![0; 512];
        let length = client.recv(&mut answer).await.unwrap();
        let answer = Message::from_vec(&answer[..length]).unwrap();
        assert_eq!(answer.answers[0].data.to_string(), "192.0.2.7");
    }

    #[tokio::test]
    async fn other_names_go_to_the_resolvers_or_are_refused() {
        let (upstream, _) = server(Vec::new()).await;
        let (address, _zone) = server(vec![upstream]).await;
        let query = question("example.com.", RecordType::A);
        let answer = ask(address, &query, false).await;
        assert_eq!(answer.metadata.response_code, ResponseCode::Refused, "the upstream's own word");
    }

    #[tokio::test]
    async fn garbage_gets_a_format_error() {
        let (address, _zone) = server(Vec::new()).await;
        let mut garbage = vec![0x12, 0x34, 0x01, 0x00];
        garbage.extend([0xff; 20]);
        let answer = reply(address, &garbage, false).await;
        assert_eq!(answer[..2], [0x12, 0x34]);
        assert_eq!(answer[3] & 0x0f, 1);
    }
}
