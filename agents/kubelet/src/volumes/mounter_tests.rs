//! Volumes made from a fake API server's objects.

use serde_json::{Value, json};

use super::*;
use crate::api::fake::Fake;

fn pod(volumes: Value) -> Pod {
    serde_json::from_value(json!({
        "metadata": {"name": "a", "namespace": "shop", "uid": "u"},
        "spec": {"serviceAccountName": "seller", "volumes": volumes, "containers": []},
    }))
    .unwrap()
}

struct Rig {
    api: Arc<Fake>,
    mounter: Mounter,
    _dir: tempfile::TempDir,
}

fn rig() -> Rig {
    let dir = tempfile::tempdir().unwrap();
    let api = Arc::new(Fake::default());
    let mounter = Mounter::new(api.clone(), Folders::new(dir.path()));
    Rig { api, mounter, _dir: dir }
}

fn config_map(text: &str) -> hansa_api::k8s_openapi::api::core::v1::ConfigMap {
    serde_json::from_value(json!({"data": {"ca.crt": text}})).unwrap()
}

#[tokio::test]
async fn the_usual_service_account_volume() {
    let mut rig = rig();
    rig.api.config_maps.lock().insert("shop/kube-root-ca.crt".to_string(), config_map("PEM"));
    let sources = json!([
        {"serviceAccountToken": {"expirationSeconds": 3607, "path": "token"}},
        {"configMap": {"name": "kube-root-ca.crt",
            "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
        {"downwardAPI": {"items": [{"path": "namespace",
            "fieldRef": {"fieldPath": "metadata.namespace"}}]}},
    ]);
    let pod = pod(json!([{"name": "api", "projected": {"sources": sources}}]));
    let paths = rig.mounter.mount(&pod, &Place::default()).await.unwrap();
    let read = |file: &str| std::fs::read_to_string(paths["api"].join(file)).unwrap();
    assert_eq!(read("token"), "token-of-seller-for-");
    assert_eq!(read("ca.crt"), "PEM");
    assert_eq!(read("namespace"), "shop");
}

#[tokio::test]
async fn a_config_map_volume_follows_its_config_map() {
    let mut rig = rig();
    let pod = pod(json!([{"name": "v", "configMap": {"name": "cm"}}]));
    let (name, error) = rig.mounter.mount(&pod, &Place::default()).await.unwrap_err();
    assert_eq!((name.as_str(), error.to_string().as_str()), ("v", r#"configmap "cm" not found"#));
    for text in ["one", "two"] {
        rig.api.config_maps.lock().insert("shop/cm".to_string(), config_map(text));
        let paths = rig.mounter.mount(&pod, &Place::default()).await.unwrap();
        assert_eq!(std::fs::read_to_string(paths["v"].join("ca.crt")).unwrap(), text);
    }
}

#[tokio::test]
async fn an_empty_dir_keeps_what_was_written_and_a_host_path_is_checked() {
    let mut rig = rig();
    let empty = pod(json!([{"name": "v", "emptyDir": {}}]));
    let paths = rig.mounter.mount(&empty, &Place::default()).await.unwrap();
    std::fs::write(paths["v"].join("f"), "x").unwrap();
    rig.mounter.mount(&empty, &Place::default()).await.unwrap();
    assert!(paths["v"].join("f").exists());
    let host =
        pod(json!([{"name": "v", "hostPath": {"path": "/etc/passwd", "type": "Directory"}}]));
    let (_, error) = rig.mounter.mount(&host, &Place::default()).await.unwrap_err();
    assert!(error.to_string().contains("is not a directory"), "{error}");
}
