//! Temporary.
use std::sync::Arc;
use hansa_apiserver::*;
use hyper_util::rt::{TokioExecutor, TokioIo};
#[tokio::main]
async fn main() {
    let pem = std::fs::read(std::env::args().nth(1).unwrap()).unwrap();
    let storage = Arc::new(hansa_storage::embedded::Engine::ephemeral().unwrap());
    let stop = tokio_util::sync::CancellationToken::new();
    let config = Config { service_account_key_pem: pem, ..Config::default() };
    let server = ApiServer::new(config, storage, stop).await.unwrap();
    server.ready().await;
    let admin = Arc::new(Identity::user("admin", &["system:masters"]));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:18080").await.unwrap();
    println!("ready");
    loop {
        let (s, _) = listener.accept().await.unwrap();
        let (server, admin) = (server.clone(), admin.clone());
        tokio::spawn(async move {
            let svc = hyper::service::service_fn(move |r: http::Request<hyper::body::Incoming>| {
                let (server, admin) = (server.clone(), admin.clone());
                async move { Ok::<_, std::convert::Infallible>(server.handle(r.map(body::boxed), Some(admin)).await) }
            });
            let _ = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new()).serve_connection_with_upgrades(TokioIo::new(s), svc).await;
        });
    }
}
