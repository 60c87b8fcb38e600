//! tmp
use std::sync::Arc;
#[tokio::main]
async fn main() {
    let dir = std::path::PathBuf::from(std::env::args().nth(1).unwrap());
    let port: u16 = std::env::args().nth(2).unwrap().parse().unwrap();
    let _ = rustls::crypto::ring::default_provider().install_default();
    let pki = hansa_bootstrap::pki::Pki::open(dir.join("pki")).unwrap();
    let serving = pki.apiserver(&[]).unwrap();
    let kc = pki.kubelet_client().unwrap();
    let config = hansa_apiserver::Config {
        service_account_key_pem: pki.service_account_key_pem().unwrap().into_bytes(),
        kubelet: Some(hansa_apiserver::KubeletClient { certificate_pem: kc.certificate_pem.into(), key_pem: kc.key_pem.into(), ca_pem: pki.ca_pem().into() }),
        advertise_port: port,
        ..Default::default()
    };
    let storage: Arc<dyn hansa_storage::Storage> = Arc::new(hansa_storage::embedded::Engine::ephemeral().unwrap());
    let stop = tokio_util::sync::CancellationToken::new();
    let t = std::time::Instant::now();
    let server = hansa_apiserver::ApiServer::new(config, storage, stop.clone()).await.unwrap();
    server.ready().await;
    eprintln!("ready after {:?}", t.elapsed());
    let tls = hansa_apiserver::server::tls::ServingTls::new(&hansa_apiserver::server::tls::Material {
        certificate_pem: serving.certificate_pem.into(), key_pem: serving.key_pem.into(), client_ca_pem: Some(pki.ca_pem().into()) }).unwrap();
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", port)).await.unwrap();
    for (name, cert) in [("admin", pki.admin().unwrap()), ("scheduler", pki.client("system:kube-scheduler", &[]).unwrap()), ("node", pki.node("n1").unwrap()), ("nobody", pki.client("nobody", &[]).unwrap())] {
        hansa_bootstrap::kubeconfig::Entry::admin(name, &format!("https://127.0.0.1:{port}"), pki.ca_pem(), cert).write(&dir.join(format!("{name}.conf"))).unwrap();
    }
    tokio::spawn({ let stop = stop.clone(); async move { tokio::signal::ctrl_c().await.unwrap(); stop.cancel(); } });
    server.serve(listener, tls, stop).await.unwrap();
}
