//! Both runtimes over their sockets, as a kubelet uses them.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use hyper_util::rt::TokioIo;
use k8s_cri::v1 as cri;
use k8s_cri::v1::image_service_client::ImageServiceClient;
use k8s_cri::v1::runtime_service_client::RuntimeServiceClient;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tonic::Code;
use tonic::transport::{Channel, Endpoint};

use crate::testing::{pod_cidr, storefront_component};
use crate::{HollowConfig, WasmConfig, import_image, serve_hollow, serve_wasm};

const IMAGE: &str = "hansa.dev/storefront:v1";

struct Rig {
    runtime: RuntimeServiceClient<Channel>,
    images: ImageServiceClient<Channel>,
    stop: CancellationToken,
    served: JoinHandle<()>,
}

impl Rig {
    async fn connect(socket: PathBuf, stop: CancellationToken, served: JoinHandle<()>) -> Self {
        while UnixStream::connect(&socket).await.is_err() {
            assert!(!served.is_finished(), "the runtime ended");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let connector = tower::service_fn(move |_| {
            let socket = socket.clone();
            async move { UnixStream::connect(socket).await.map(TokioIo::new) }
        });
        let endpoint = Endpoint::from_static("http://runtime");
        let channel = endpoint.connect_with_connector(connector).await.unwrap();
        let (runtime, images) =
            (RuntimeServiceClient::new(channel.clone()), ImageServiceClient::new(channel));
        Self { runtime, images, stop, served }
    }

    async fn wasm(root: &Path) -> Self {
        let stop = CancellationToken::new();
        let config = WasmConfig::new(root.join("cri.sock"), root.to_path_buf());
        let socket = config.socket.clone();
        let serving = serve_wasm(config, stop.clone());
        let served = tokio::spawn(async move { serving.await.unwrap() });
        Self::connect(socket, stop, served).await
    }

    async fn end(self) {
        self.stop.cancel();
        drop((self.runtime, self.images));
        self.served.await.unwrap();
    }

    async fn set_cidr(&mut self, cidr: &str) {
        let network_config = Some(cri::NetworkConfig { pod_cidr: cidr.to_string() });
        let runtime_config = Some(cri::RuntimeConfig { network_config });
        let request = cri::UpdateRuntimeConfigRequest { runtime_config };
        self.runtime.update_runtime_config(request).await.unwrap();
    }

    async fn run_pod(&mut self, name: &str, root: &Path) -> (String, Ipv4Addr) {
        let metadata = cri::PodSandboxMetadata { name: name.to_string(), ..Default::default() };
        let config = cri::PodSandboxConfig {
            metadata: Some(metadata),
            log_directory: root.join("logs").join(name).display().to_string(),
            ..Default::default()
        };
        let request = cri::RunPodSandboxRequest { config: Some(config), ..Default::default() };
        let id = self.runtime.run_pod_sandbox(request).await.unwrap().into_inner().pod_sandbox_id;
        let address = self.pod(&id).await.network.unwrap().ip.parse().unwrap();
        (id, address)
    }

    async fn pod(&mut self, id: &str) -> cri::PodSandboxStatus {
        let request =
            cri::PodSandboxStatusRequest { pod_sandbox_id: id.to_string(), verbose: false };
        self.runtime.pod_sandbox_status(request).await.unwrap().into_inner().status.unwrap()
    }

    async fn create(&mut self, pod: &str, image: &str, port: u16) -> Result<String, tonic::Status> {
        let env = |key: &str, value: &str| cri::KeyValue {
            key: key.to_string(),
            value: value.to_string(),
        };
        let metadata = cri::ContainerMetadata { name: "web".to_string(), attempt: 0 };
        let config = cri::ContainerConfig {
            metadata: Some(metadata),
            image: Some(cri::ImageSpec { image: image.to_string(), ..Default::default() }),
            envs: vec![
                env("REGION", "eu-west"),
                env("POD_NAME", "a"),
                env("PORT", &port.to_string()),
            ],
            log_path: "web/0.log".to_string(),
            ..Default::default()
        };
        let request = cri::CreateContainerRequest {
            pod_sandbox_id: pod.to_string(),
            config: Some(config),
            sandbox_config: None,
        };
        Ok(self.runtime.create_container(request).await?.into_inner().container_id)
    }

    async fn start(&mut self, id: &str) {
        let request = cri::StartContainerRequest { container_id: id.to_string() };
        self.runtime.start_container(request).await.unwrap();
    }

    async fn container(&mut self, id: &str) -> cri::ContainerStatus {
        let request = cri::ContainerStatusRequest { container_id: id.to_string(), verbose: false };
        self.runtime.container_status(request).await.unwrap().into_inner().status.unwrap()
    }
}

async fn get(address: Ipv4Addr, port: u16, path: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect((address, port)).await?;
    let request = format!("GET {path} HTTP/1.1\r\nhost: shop\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    Ok(answer)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_component_serves_on_its_pods_address_logs_and_stops() {
    let root = tempfile::tempdir().unwrap();
    import_image(root.path(), IMAGE, &storefront_component()).unwrap();
    let mut rig = Rig::wasm(root.path()).await;
    rig.set_cidr(&pod_cidr(0)).await;
    let (pod, address) = rig.run_pod("a", root.path()).await;
    let id = rig.create(&pod, IMAGE, 8081).await.unwrap();
    rig.start(&id).await;
    let answer = get(address, 8081, "/json").await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(answer.contains(r#""pod":"a","region":"eu-west""#), "{answer}");
    assert!(get(address, 8081, "/none").await.unwrap().starts_with("HTTP/1.1 404"));
    let log = std::fs::read_to_string(root.path().join("logs/a/web/0.log")).unwrap();
    assert!(log.lines().any(|line| line.ends_with("stderr F 200 /json")), "{log}");

    let stop = cri::StopContainerRequest { container_id: id.clone(), timeout: 10 };
    rig.runtime.stop_container(stop).await.unwrap();
    let status = rig.container(&id).await;
    assert_eq!((status.state(), status.exit_code), (cri::ContainerState::ContainerExited, 0));
    assert!(get(address, 8081, "/").await.is_err(), "the port is closed");
    rig.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_restart_the_pod_keeps_its_address_and_the_container_can_be_made_anew() {
    let root = tempfile::tempdir().unwrap();
    import_image(root.path(), IMAGE, &storefront_component()).unwrap();
    let mut rig = Rig::wasm(root.path()).await;
    rig.set_cidr(&pod_cidr(1)).await;
    let (pod, address) = rig.run_pod("a", root.path()).await;
    let id = rig.create(&pod, IMAGE, 8080).await.unwrap();
    rig.start(&id).await;
    rig.end().await;

    let mut rig = Rig::wasm(root.path()).await;
    let status = rig.container(&id).await;
    assert_eq!(status.state(), cri::ContainerState::ContainerExited);
    assert_ne!(status.exit_code, 0);
    let again = rig.create(&pod, IMAGE, 8080).await.unwrap();
    rig.start(&again).await;
    assert!(get(address, 8080, "/healthz").await.unwrap().ends_with("ok"));
    let request = cri::RemovePodSandboxRequest { pod_sandbox_id: pod };
    rig.runtime.remove_pod_sandbox(request).await.unwrap();
    let left = rig.runtime.list_containers(cri::ListContainersRequest::default()).await.unwrap();
    assert!(left.into_inner().containers.is_empty());
    assert!(get(address, 8080, "/").await.is_err(), "nothing serves a removed pod's address");
    rig.end().await;
}

#[tokio::test]
async fn what_cannot_be_is_said_plainly() {
    let root = tempfile::tempdir().unwrap();
    let broken = [b"\0asm\x0d\0\x01\0".as_slice(), b"rubbish"].concat();
    import_image(root.path(), "broken:v1", &broken).unwrap();
    let mut rig = Rig::wasm(root.path()).await;
    let metadata = Some(cri::PodSandboxMetadata::default());
    let config = Some(cri::PodSandboxConfig { metadata, ..Default::default() });
    let early = cri::RunPodSandboxRequest { config, ..Default::default() };
    let refused = rig.runtime.run_pod_sandbox(early).await.unwrap_err();
    assert!(refused.message().contains("no pod CIDR yet"), "{refused}");
    rig.set_cidr(&pod_cidr(2)).await;
    let (pod, _) = rig.run_pod("a", root.path()).await;
    assert_eq!(rig.create(&pod, "absent:v1", 80).await.unwrap_err().code(), Code::NotFound);
    assert_eq!(rig.create(&pod, "broken:v1", 80).await.unwrap_err().code(), Code::InvalidArgument);
    assert_eq!(rig.create("nope", "broken:v1", 80).await.unwrap_err().code(), Code::NotFound);
    let image = Some(cri::ImageSpec { image: "absent:v1".to_string(), ..Default::default() });
    let pull = cri::PullImageRequest { image, ..Default::default() };
    let refused = rig.images.pull_image(pull).await.unwrap_err();
    assert!(refused.message().contains("import it first"), "{refused}");
    let exec = rig.runtime.exec(cri::ExecRequest::default()).await.unwrap_err();
    let text = "the wasm runtime has no exec: a WASI component is not a process tree";
    assert_eq!((exec.code(), exec.message()), (Code::Unimplemented, text));
    rig.end().await;
}

#[tokio::test]
async fn hollow_pods_run_at_once_and_have_addresses() {
    let root = tempfile::tempdir().unwrap();
    let (socket, stop) = (root.path().join("cri.sock"), CancellationToken::new());
    let serving = serve_hollow(HollowConfig { socket: socket.clone() }, stop.clone());
    let served = tokio::spawn(async move { serving.await.unwrap() });
    let mut rig = Rig::connect(socket, stop, served).await;
    rig.set_cidr("10.1.2.0/24").await;
    let mut last = String::new();
    for number in 0..200 {
        let (pod, _) = rig.run_pod(&format!("pod-{number}"), root.path()).await;
        last = rig.create(&pod, "registry/any:v9", 80).await.unwrap();
        rig.start(&last).await;
    }
    assert_eq!(rig.container(&last).await.state(), cri::ContainerState::ContainerRunning);
    let stop = cri::StopContainerRequest { container_id: last.clone(), timeout: 1 };
    rig.runtime.stop_container(stop).await.unwrap();
    assert_eq!(rig.container(&last).await.exit_code, 0);
    rig.end().await;
}
