//! CRI's ImageService.

use async_trait::async_trait;
use k8s_cri::v1::image_service_server::ImageService;
use tonic::Request;

use super::*;

fn to_image(image: ImageRecord) -> cri::Image {
    cri::Image {
        id: image.id(),
        repo_digests: vec![image.repo_digest()],
        size: image.size,
        repo_tags: vec![image.reference],
        ..Default::default()
    }
}

fn image_name(spec: Option<cri::ImageSpec>) -> String {
    spec.map(|spec| spec.image).unwrap_or_default()
}

#[async_trait]
impl<B: Backend> ImageService for Service<B> {
    async fn list_images(
        &self,
        request: Request<cri::ListImagesRequest>,
    ) -> Answer<cri::ListImagesResponse> {
        let name = image_name(request.into_inner().filter.and_then(|filter| filter.image));
        let images = if name.is_empty() {
            self.backend.list_images().map_err(image_status)?
        } else {
            self.backend.find_image(&name).map_err(image_status)?.into_iter().collect()
        };
        let images = images.into_iter().map(to_image).collect();
        Ok(Response::new(cri::ListImagesResponse { images }))
    }

    async fn image_status(
        &self,
        request: Request<cri::ImageStatusRequest>,
    ) -> Answer<cri::ImageStatusResponse> {
        let name = image_name(request.into_inner().image);
        let image = self.backend.find_image(&name).map_err(image_status)?.map(to_image);
        Ok(Response::new(cri::ImageStatusResponse { image, info: HashMap::new() }))
    }

    async fn pull_image(
        &self,
        request: Request<cri::PullImageRequest>,
    ) -> Answer<cri::PullImageResponse> {
        let image_ref = self.find_image(&image_name(request.into_inner().image))?.repo_digest();
        Ok(Response::new(cri::PullImageResponse { image_ref }))
    }

    async fn remove_image(
        &self,
        request: Request<cri::RemoveImageRequest>,
    ) -> Answer<cri::RemoveImageResponse> {
        let name = image_name(request.into_inner().image);
        self.backend.remove_image(&name).map_err(image_status)?;
        Ok(Response::new(cri::RemoveImageResponse {}))
    }

    async fn image_fs_info(
        &self,
        _: Request<cri::ImageFsInfoRequest>,
    ) -> Answer<cri::ImageFsInfoResponse> {
        let (mountpoint, used) = self.backend.image_usage();
        let usage = cri::FilesystemUsage {
            timestamp: now_nanos(),
            fs_id: Some(cri::FilesystemIdentifier { mountpoint }),
            used_bytes: Some(cri::UInt64Value { value: used }),
            inodes_used: Some(cri::UInt64Value { value: 0 }),
        };
        let image_filesystems = vec![usage];
        Ok(Response::new(cri::ImageFsInfoResponse {
            image_filesystems,
            container_filesystems: vec![],
        }))
    }
}
