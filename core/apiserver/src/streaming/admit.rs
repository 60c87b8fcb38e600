//! Admission of connections: webhooks and policies may refuse them as they refuse writes.

use std::sync::Arc;

use hansa_api::ApiError;
use http::Request;
use serde_json::{Map, Value, json};

use crate::authn::Identity;
use crate::body::Body;
use crate::generic::admit::{Attributes, Operation};
use crate::generic::context::Context;
use crate::request_info::{RequestInfo, is_true, query_pairs};
use crate::server::ApiServer;

/// Flags among the parameters; all others are texts.
const FLAGS: [&str; 4] = ["stdin", "stdout", "stderr", "tty"];

/// Who wants to connect, and how.
pub(super) struct Asked {
    user: Arc<Identity>,
    options: Value,
}

impl Asked {
    /// What a request asks for.
    pub(super) fn of(info: &RequestInfo, request: &Request<Body>) -> Self {
        let user = request.extensions().get::<Arc<Identity>>().cloned().unwrap_or_default();
        Self { user, options: options(info, request.uri().query().unwrap_or_default()) }
    }

    /// Asks admission about a connection. Logs are read and not connected to.
    pub(super) async fn check(
        self,
        server: &Arc<ApiServer>,
        info: &RequestInfo,
    ) -> Result<(), ApiError> {
        if info.subresource == "log" {
            return Ok(());
        }
        let served = server.registry.served("", &info.resource)?;
        let ctx = Context {
            user: self.user,
            verb: info.verb.clone(),
            namespace: info.namespace.clone(),
            name: info.name.clone(),
            subresource: info.subresource.clone(),
            ..Context::default()
        };
        let attrs = Attributes {
            ctx: &ctx,
            resource: &served.resource,
            operation: Operation::Connect,
            old: None,
            registry: &server.registry,
        };
        server.registry.admission().validate(&attrs, Some(&self.options)).await
    }
}

/// The parameters as the object that upstream makes of them.
fn options(info: &RequestInfo, query: &str) -> Value {
    let kind = match (info.resource.as_str(), info.subresource.as_str()) {
        ("pods", "exec") => "PodExecOptions",
        ("pods", "attach") => "PodAttachOptions",
        ("pods", "portforward") => "PodPortForwardOptions",
        ("pods", _) => "PodProxyOptions",
        ("nodes", _) => "NodeProxyOptions",
        _ => "ServiceProxyOptions",
    };
    let mut fields = Map::new();
    if kind.ends_with("ProxyOptions") {
        let path = info.parts.get(3..).unwrap_or_default().join("/");
        fields.insert("path".into(), format!("/{path}").into());
    } else {
        for (key, value) in query_pairs(query) {
            add(&mut fields, &key, value);
        }
    }
    fields.insert("kind".into(), kind.into());
    fields.insert("apiVersion".into(), "v1".into());
    Value::Object(fields)
}

fn add(fields: &mut Map<String, Value>, key: &str, value: String) {
    match key {
        "command" | "ports" => {
            let list = fields.entry(key).or_insert_with(|| json!([]));
            let item = match key {
                "ports" => value.parse::<i64>().map_or(Value::Null, Value::from),
                _ => value.into(),
            };
            if let Some(list) = list.as_array_mut() {
                list.push(item);
            }
        }
        "container" => drop(fields.insert(key.to_owned(), value.into())),
        flag if FLAGS.contains(&flag) => {
            fields.insert(flag.to_owned(), is_true(&value).into());
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_become_options() {
        let uri = "/api/v1/namespaces/a/pods/p/exec?command=sh&command=-c&stdin=1&tty=false";
        let uri: http::Uri = uri.parse().unwrap();
        let info = RequestInfo::parse(&http::Method::POST, &uri);
        assert_eq!(
            options(&info, uri.query().unwrap()),
            json!({"kind": "PodExecOptions", "apiVersion": "v1", "command": ["sh", "-c"],
                "stdin": true, "tty": false})
        );
    }
}
