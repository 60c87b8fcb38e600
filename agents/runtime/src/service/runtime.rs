//! CRI's RuntimeService: sandboxes and containers.

use async_trait::async_trait;
use k8s_cri::v1::runtime_service_server::RuntimeService;
use tonic::Request;

use super::*;

#[async_trait]
impl<B: Backend> RuntimeService for Service<B> {
    type GetContainerEventsStream =
        tokio_stream::Empty<Result<cri::ContainerEventResponse, Status>>;

    async fn version(&self, _: Request<cri::VersionRequest>) -> Answer<cri::VersionResponse> {
        Ok(Response::new(cri::VersionResponse {
            version: "0.1.0".to_string(),
            runtime_name: self.name().to_string(),
            runtime_version: env!("CARGO_PKG_VERSION").to_string(),
            runtime_api_version: "v1".to_string(),
        }))
    }

    async fn run_pod_sandbox(
        &self,
        request: Request<cri::RunPodSandboxRequest>,
    ) -> Answer<cri::RunPodSandboxResponse> {
        let request = request.into_inner();
        let config = request.config.ok_or(BookError::Missing("sandbox config"))?;
        let sandbox = self.book.lock().add_sandbox(config, request.runtime_handler)?;
        Ok(Response::new(cri::RunPodSandboxResponse { pod_sandbox_id: sandbox.id }))
    }

    async fn stop_pod_sandbox(
        &self,
        request: Request<cri::StopPodSandboxRequest>,
    ) -> Answer<cri::StopPodSandboxResponse> {
        let id = request.into_inner().pod_sandbox_id;
        self.stop_all_of(&id).await;
        self.book.lock().stop_sandbox(&id)?;
        Ok(Response::new(cri::StopPodSandboxResponse {}))
    }

    async fn remove_pod_sandbox(
        &self,
        request: Request<cri::RemovePodSandboxRequest>,
    ) -> Answer<cri::RemovePodSandboxResponse> {
        let id = request.into_inner().pod_sandbox_id;
        self.stop_all_of(&id).await;
        self.book.lock().remove_sandbox(&id)?;
        Ok(Response::new(cri::RemovePodSandboxResponse {}))
    }

    async fn pod_sandbox_status(
        &self,
        request: Request<cri::PodSandboxStatusRequest>,
    ) -> Answer<cri::PodSandboxStatusResponse> {
        let id = request.into_inner().pod_sandbox_id;
        let book = self.book.lock();
        let status = book.sandbox(&id)?.to_status();
        Ok(Response::new(cri::PodSandboxStatusResponse {
            status: Some(status),
            info: HashMap::new(),
            containers_statuses: Vec::new(),
            timestamp: now_nanos(),
        }))
    }

    async fn list_pod_sandbox(
        &self,
        request: Request<cri::ListPodSandboxRequest>,
    ) -> Answer<cri::ListPodSandboxResponse> {
        let filter = request.into_inner().filter.unwrap_or_default();
        let book = self.book.lock();
        let found = book.sandboxes().into_iter().filter(|sandbox| sandbox.matches(&filter));
        let items = found.map(|sandbox| sandbox.to_item()).collect();
        Ok(Response::new(cri::ListPodSandboxResponse { items }))
    }

    async fn create_container(
        &self,
        request: Request<cri::CreateContainerRequest>,
    ) -> Answer<cri::CreateContainerResponse> {
        let container = self.new_container(request.into_inner())?;
        self.backend.prepare(&container).await?;
        let container_id = container.id.clone();
        self.book.lock().add_container(container)?;
        Ok(Response::new(cri::CreateContainerResponse { container_id }))
    }

    async fn start_container(
        &self,
        request: Request<cri::StartContainerRequest>,
    ) -> Answer<cri::StartContainerResponse> {
        let id = request.into_inner().container_id;
        let start = self.new_start(&id)?;
        let kept = Start {
            sandbox: start.sandbox.clone(),
            container: start.container.clone(),
            log: start.log.clone(),
            stop: start.stop.clone(),
            usage: start.usage.clone(),
        };
        let exit = self.backend.start(start).await?;
        self.book.lock().set_phase(&id, Phase::Running { started_at: now_nanos() })?;
        self.watch_over(id, kept, exit);
        Ok(Response::new(cri::StartContainerResponse {}))
    }

    async fn stop_container(
        &self,
        request: Request<cri::StopContainerRequest>,
    ) -> Answer<cri::StopContainerResponse> {
        let request = request.into_inner();
        self.book.lock().container(&request.container_id)?;
        let grace = Duration::from_secs(u64::try_from(request.timeout).unwrap_or(0));
        self.stop(&request.container_id, grace).await;
        Ok(Response::new(cri::StopContainerResponse {}))
    }

    async fn remove_container(
        &self,
        request: Request<cri::RemoveContainerRequest>,
    ) -> Answer<cri::RemoveContainerResponse> {
        let id = request.into_inner().container_id;
        self.stop(&id, Duration::ZERO).await;
        self.book.lock().remove_container(&id)?;
        Ok(Response::new(cri::RemoveContainerResponse {}))
    }

    async fn list_containers(
        &self,
        request: Request<cri::ListContainersRequest>,
    ) -> Answer<cri::ListContainersResponse> {
        let filter = request.into_inner().filter.unwrap_or_default();
        let book = self.book.lock();
        let found = book.containers().into_iter().filter(|container| container.matches(&filter));
        let containers = found.map(ContainerRecord::to_item).collect();
        Ok(Response::new(cri::ListContainersResponse { containers }))
    }

    async fn container_status(
        &self,
        request: Request<cri::ContainerStatusRequest>,
    ) -> Answer<cri::ContainerStatusResponse> {
        let id = request.into_inner().container_id;
        let status = Some(self.book.lock().container(&id)?.to_status());
        Ok(Response::new(cri::ContainerStatusResponse { status, info: HashMap::new() }))
    }

    async fn update_container_resources(
        &self,
        _: Request<cri::UpdateContainerResourcesRequest>,
    ) -> Answer<cri::UpdateContainerResourcesResponse> {
        let text = format!("the {} runtime sets limits at the start only", self.name());
        Err(Status::unimplemented(text))
    }

    async fn reopen_container_log(
        &self,
        request: Request<cri::ReopenContainerLogRequest>,
    ) -> Answer<cri::ReopenContainerLogResponse> {
        let id = request.into_inner().container_id;
        self.book.lock().container(&id)?;
        let running = self.running(&id).ok_or_else(|| {
            Status::failed_precondition(format!("container {id:?} is not running"))
        })?;
        running.log.reopen().map_err(|error| Status::internal(error.to_string()))?;
        Ok(Response::new(cri::ReopenContainerLogResponse {}))
    }

    async fn exec_sync(&self, _: Request<cri::ExecSyncRequest>) -> Answer<cri::ExecSyncResponse> {
        Err(self.unavailable("exec"))
    }

    async fn exec(&self, _: Request<cri::ExecRequest>) -> Answer<cri::ExecResponse> {
        Err(self.unavailable("exec"))
    }

    async fn attach(&self, _: Request<cri::AttachRequest>) -> Answer<cri::AttachResponse> {
        Err(self.unavailable("attach"))
    }

    async fn port_forward(
        &self,
        _: Request<cri::PortForwardRequest>,
    ) -> Answer<cri::PortForwardResponse> {
        Err(self.unavailable("port-forward"))
    }

    async fn container_stats(
        &self,
        request: Request<cri::ContainerStatsRequest>,
    ) -> Answer<cri::ContainerStatsResponse> {
        let container = self.book.lock().container(&request.into_inner().container_id)?.clone();
        let stats = Some(self.stats_of(&container));
        Ok(Response::new(cri::ContainerStatsResponse { stats }))
    }

    async fn list_container_stats(
        &self,
        request: Request<cri::ListContainerStatsRequest>,
    ) -> Answer<cri::ListContainerStatsResponse> {
        let filter = request.into_inner().filter.unwrap_or_default();
        let filter = cri::ContainerFilter {
            id: filter.id,
            state: None,
            pod_sandbox_id: filter.pod_sandbox_id,
            label_selector: filter.label_selector,
        };
        let containers: Vec<_> = {
            let book = self.book.lock();
            let found = book.containers().into_iter().filter(|found| found.matches(&filter));
            found.cloned().collect()
        };
        let stats = containers.iter().map(|container| self.stats_of(container)).collect();
        Ok(Response::new(cri::ListContainerStatsResponse { stats }))
    }

    async fn pod_sandbox_stats(
        &self,
        request: Request<cri::PodSandboxStatsRequest>,
    ) -> Answer<cri::PodSandboxStatsResponse> {
        let stats = Some(self.pod_stats_of(&request.into_inner().pod_sandbox_id)?);
        Ok(Response::new(cri::PodSandboxStatsResponse { stats }))
    }

    async fn list_pod_sandbox_stats(
        &self,
        request: Request<cri::ListPodSandboxStatsRequest>,
    ) -> Answer<cri::ListPodSandboxStatsResponse> {
        let filter = request.into_inner().filter.unwrap_or_default();
        let filter = cri::PodSandboxFilter {
            id: filter.id,
            state: None,
            label_selector: filter.label_selector,
        };
        let ids: Vec<_> = {
            let book = self.book.lock();
            let found = book.sandboxes().into_iter().filter(|found| found.matches(&filter));
            found.map(|sandbox| sandbox.id.clone()).collect()
        };
        let stats = ids.iter().filter_map(|id| self.pod_stats_of(id).ok()).collect();
        Ok(Response::new(cri::ListPodSandboxStatsResponse { stats }))
    }

    async fn update_runtime_config(
        &self,
        request: Request<cri::UpdateRuntimeConfigRequest>,
    ) -> Answer<cri::UpdateRuntimeConfigResponse> {
        let config = request.into_inner().runtime_config.unwrap_or_default();
        let cidr = config.network_config.map(|network| network.pod_cidr).unwrap_or_default();
        if !cidr.is_empty() {
            self.book.lock().set_cidr(&cidr)?;
        }
        Ok(Response::new(cri::UpdateRuntimeConfigResponse {}))
    }

    async fn status(&self, _: Request<cri::StatusRequest>) -> Answer<cri::StatusResponse> {
        let network = self.book.lock().network_ready();
        let condition = |kind: &str, status: bool, reason: &str, message: &str| {
            let (reason, message) = if status { ("", "") } else { (reason, message) };
            cri::RuntimeCondition {
                r#type: kind.to_string(),
                status,
                reason: reason.to_string(),
                message: message.to_string(),
            }
        };
        let missing = "the node has no pod CIDR yet";
        let conditions = vec![
            condition("RuntimeReady", true, "", ""),
            condition("NetworkReady", network, "NetworkPluginNotReady", missing),
        ];
        Ok(Response::new(cri::StatusResponse {
            status: Some(cri::RuntimeStatus { conditions }),
            ..Default::default()
        }))
    }

    async fn checkpoint_container(
        &self,
        _: Request<cri::CheckpointContainerRequest>,
    ) -> Answer<cri::CheckpointContainerResponse> {
        Err(self.unavailable("checkpoint"))
    }

    async fn get_container_events(
        &self,
        _: Request<cri::GetEventsRequest>,
    ) -> Answer<Self::GetContainerEventsStream> {
        Err(Status::unimplemented("container events are not offered: poll"))
    }

    async fn list_metric_descriptors(
        &self,
        _: Request<cri::ListMetricDescriptorsRequest>,
    ) -> Answer<cri::ListMetricDescriptorsResponse> {
        Ok(Response::new(cri::ListMetricDescriptorsResponse::default()))
    }

    async fn list_pod_sandbox_metrics(
        &self,
        _: Request<cri::ListPodSandboxMetricsRequest>,
    ) -> Answer<cri::ListPodSandboxMetricsResponse> {
        Ok(Response::new(cri::ListPodSandboxMetricsResponse::default()))
    }

    async fn runtime_config(
        &self,
        _: Request<cri::RuntimeConfigRequest>,
    ) -> Answer<cri::RuntimeConfigResponse> {
        Ok(Response::new(cri::RuntimeConfigResponse::default()))
    }
}
