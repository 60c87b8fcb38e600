//! Every scenario runs with both versions of kubectl, each in a namespace of its own; and the
//! objects that many of them use.

/// Makes tests out of functions that take a [`hansa_tests::Kubectl`]: `on!(hollow: a, b)`.
macro_rules! on {
    ($cluster:ident: $($name:ident),+ $(,)?) => {
        mod kubectl_1_33 {
            $(#[test]
            fn $name() {
                let version = hansa_tests::Version::V1_33;
                super::$name(&hansa_tests::$cluster().kubectl(version, stringify!($name)));
            })+
        }
        mod kubectl_1_27 {
            $(#[test]
            fn $name() {
                let version = hansa_tests::Version::V1_27;
                super::$name(&hansa_tests::$cluster().kubectl(version, stringify!($name)));
            })+
        }
    };
}

pub(crate) use on;

/// A Deployment of pods that only pretend.
pub fn deployment(name: &str, replicas: u32) -> String {
    format!(
        "apiVersion: apps/v1
kind: Deployment
metadata: {{name: {name}, labels: {{app: {name}}}}}
spec:
  replicas: {replicas}
  selector: {{matchLabels: {{app: {name}}}}}
  template:
    metadata: {{labels: {{app: {name}}}}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
      - name: main
        image: pause:1
        env:
        - {{name: FIRST, value: one}}
        - {{name: SECOND, value: two}}
"
    )
}

/// A ConfigMap with one key.
pub fn config_map(name: &str, key: &str, value: &str) -> String {
    format!(
        "apiVersion: v1
kind: ConfigMap
metadata: {{name: {name}, labels: {{kind: plain}}}}
data: {{{key}: {value:?}}}
"
    )
}

/// A pod that only pretends.
pub fn pod(name: &str) -> String {
    format!(
        "apiVersion: v1
kind: Pod
metadata: {{name: {name}, labels: {{app: {name}}}}}
spec:
  terminationGracePeriodSeconds: 1
  containers: [{{name: main, image: 'pause:1'}}]
"
    )
}
