//! What is sent: the requests made of a sample object and of the resource that it belongs to.

use hansa_tests::Http;
use serde_json::{Value, json};

use crate::compare::TOKEN;
use crate::vary::variations;

/// One request, sent to both servers.
#[derive(Clone, Debug)]
pub struct Case {
    /// The resource, such as `deployments.apps`.
    pub resource: String,
    /// What is odd about it.
    pub what: String,
    /// The HTTP method.
    pub method: &'static str,
    /// Path and query.
    pub path: String,
    /// Headers.
    pub headers: Vec<(&'static str, &'static str)>,
    /// The body.
    pub body: String,
    /// What stands in our body in place of what stands in the peer's: an object's uid and the like.
    pub own: Vec<(String, String)>,
}

/// What each server gave an object of itself, where a body must repeat it: the peer's, and ours.
fn own_values(peer: &Value, ours: &Value) -> Vec<(String, String)> {
    let mut pairs = Vec::new();
    for pointer in OWN {
        let text = |object: &Value| Some(object.pointer(pointer)?.as_str()?.to_owned());
        pairs.extend(text(peer).zip(text(ours)));
    }
    pairs.extend(token_volume(peer).zip(token_volume(ours)));
    pairs.retain(|(peer, ours)| peer != ours);
    pairs.into_iter().map(|(peer, ours)| (format!("{peer:?}"), format!("{ours:?}"))).collect()
}

/// The name of the volume for a pod's token, which has a random end.
fn token_volume(pod: &Value) -> Option<String> {
    let volumes = pod.pointer("/spec/volumes")?.as_array()?;
    let mut names = volumes.iter().filter_map(|volume| volume["name"].as_str());
    names.find(|name| name.starts_with(TOKEN)).map(str::to_owned)
}

const OWN: [&str; 3] = ["/metadata/uid", "/metadata/resourceVersion", "/spec/clusterIP"];

/// A sample object and where it lives.
pub struct Sample {
    /// The object.
    pub object: Value,
    resource: String,
    collection: String,
    has_status: bool,
}

const JSON: (&str, &str) = ("content-type", "application/json");

impl Sample {
    /// Finds the resource of an object by the peer's discovery; `None` if it serves none such.
    pub fn find(peer: &Http, object: Value) -> Option<Self> {
        let version = object["apiVersion"].as_str()?;
        let root = if version.contains('/') { "/apis" } else { "/api" };
        let list = peer.get(&format!("{root}/{version}")).body;
        let resources = list["resources"].as_array()?;
        let found = resources.iter().find(|resource| {
            let name = resource["name"].as_str().unwrap_or_default();
            resource["kind"] == object["kind"] && !name.contains('/')
        })?;
        let plural = found["name"].as_str()?;
        let status = format!("{plural}/status");
        let space = if found["namespaced"] == true { "/namespaces/default" } else { "" };
        Some(Self {
            resource: format!(
                "{plural}.{}",
                version.split_once('/').map_or("", |(group, _)| group)
            ),
            collection: format!("{root}/{version}{space}/{plural}"),
            has_status: resources.iter().any(|resource| resource["name"] == *status),
            object,
        })
    }

    fn name(&self) -> &str {
        self.object["metadata"]["name"].as_str().unwrap_or_default()
    }

    /// Whether its resource's name contains this.
    pub fn is_of(&self, part: &str) -> bool {
        self.resource.contains(part)
    }

    /// Its path.
    pub fn item(&self) -> String {
        format!("{}/{}", self.collection, self.name())
    }

    fn case(&self, what: &str, method: &'static str, path: String, body: String) -> Case {
        let (resource, what) = (self.resource.clone(), what.to_owned());
        Case { resource, what, method, path, headers: vec![JSON], body, own: Vec::new() }
    }

    /// The object, made for real.
    pub fn creation(&self) -> Case {
        self.case("create", "POST", self.collection.clone(), self.object.to_string())
    }

    /// Its removal, for real.
    pub fn removal(&self) -> Case {
        let body = json!({"propagationPolicy": "Background", "gracePeriodSeconds": 0});
        self.case("delete", "DELETE", self.item(), body.to_string())
    }

    /// Every variation as a creation that changes nothing.
    pub fn creations(&self) -> Vec<Case> {
        let path = format!("{}?dryRun=All&fieldValidation=Strict", self.collection);
        let case = |(what, object): (String, Value)| {
            self.case(&format!("create {what}"), "POST", path.clone(), object.to_string())
        };
        variations(&self.object).into_iter().map(case).collect()
    }

    /// Every variation of what is stored as an update that changes nothing, also of the status.
    pub fn updates(&self, peer: &Value, ours: &Value) -> Vec<Case> {
        let mut object = peer.clone();
        let fields = object["metadata"].as_object_mut().expect("what is stored has metadata");
        for server in ["creationTimestamp", "managedFields", "generation"] {
            fields.remove(server);
        }
        let own = own_values(peer, ours);
        let mut cases = Vec::new();
        for (what, object) in variations(&object) {
            let path = format!("{}?dryRun=All", self.item());
            cases.push(self.case(&format!("update {what}"), "PUT", path, object.to_string()));
            if self.has_status && what.starts_with("/status") {
                let path = format!("{}/status?dryRun=All", self.item());
                let what = format!("update of status {what}");
                cases.push(self.case(&what, "PUT", path, object.to_string()));
            }
        }
        cases.iter_mut().for_each(|case| case.own.clone_from(&own));
        cases
    }

    /// Reads, lists, watches, patches and deletions with good and bad parameters.
    pub fn requests(&self) -> Vec<Case> {
        let mut cases = self.reads();
        cases.extend(self.bodies());
        cases.extend(self.patches());
        cases.extend(self.deletions());
        cases
    }

    fn reads(&self) -> Vec<Case> {
        let mut cases = Vec::new();
        for query in LISTS {
            let path = format!("{}?{query}", self.collection);
            cases.push(self.case(&format!("list {query}"), "GET", path, String::new()));
        }
        let missing = format!("{}/missing", self.collection);
        cases.push(self.case("get what is missing", "GET", missing, String::new()));
        for accept in ACCEPTS {
            for (what, path) in [("get", self.item()), ("list", self.collection.clone())] {
                let mut case =
                    self.case(&format!("{what} as {accept}"), "GET", path, String::new());
                case.headers = vec![("accept", accept)];
                cases.push(case);
            }
        }
        for method in ["PUT", "PATCH", "HEAD", "OPTIONS", "TRACE"] {
            let path = self.collection.clone();
            cases.push(self.case(&format!("{method} of a collection"), method, path, "{}".into()));
        }
        let path = format!("{}/unheardof", self.item());
        cases.push(self.case("get an unknown subresource", "GET", path, String::new()));
        cases
    }

    fn bodies(&self) -> Vec<Case> {
        let text = self.object.to_string();
        let twice = format!("{},\"kind\":\"Other\"}}", &text[..text.len() - 1]);
        let mut anonymous = self.object.clone();
        anonymous["metadata"] = json!({});
        let mut other = self.object.clone();
        other["kind"] = "Other".into();
        let mut version = self.object.clone();
        version["apiVersion"] = "other/v1".into();
        let mut cases = Vec::new();
        for (what, body) in [
            ("nothing", String::new()),
            ("no JSON", "{".into()),
            ("a list", "[]".into()),
            ("an empty object", "{}".into()),
            ("half an object", text[..text.len() / 2].to_owned()),
            ("a field twice", twice),
            ("no name", anonymous.to_string()),
            ("another kind", other.to_string()),
            ("another version", version.to_string()),
        ] {
            let path = format!("{}?dryRun=All", self.collection);
            cases.push(self.case(&format!("create of {what}"), "POST", path, body.clone()));
            let path = format!("{}?dryRun=All", self.item());
            cases.push(self.case(&format!("update with {what}"), "PUT", path, body));
        }
        for query in WRITES {
            let path = format!("{}?{query}", self.collection);
            cases.push(self.case(&format!("create {query}"), "POST", path, text.clone()));
        }
        for media in ["text/plain", "application/xml", "application/cbor", "application/yaml"] {
            let path = format!("{}?dryRun=All", self.collection);
            let mut case = self.case(&format!("create in {media}"), "POST", path, text.clone());
            case.headers = vec![("content-type", media)];
            cases.push(case);
        }
        let path = format!("{}/another?dryRun=All", self.collection);
        cases.push(self.case("update under another name", "PUT", path, text));
        cases
    }

    fn patches(&self) -> Vec<Case> {
        let mut cases = Vec::new();
        for (media, body) in PATCHES {
            for name in [self.name(), "missing"] {
                let path = format!("{}/{name}?dryRun=All", self.collection);
                let what = format!("{media} of {name}: {body}");
                let mut case = self.case(&what, "PATCH", path, (*body).into());
                case.headers = vec![("content-type", media)];
                cases.push(case);
            }
        }
        cases
    }

    fn deletions(&self) -> Vec<Case> {
        let mut cases = Vec::new();
        for body in DELETIONS {
            let (text, query) = dry(body);
            let path = format!("{}{query}", self.item());
            cases.push(self.case(&format!("delete {body}"), "DELETE", path, text.clone()));
            let path = format!("{}?labelSelector=none=such", self.collection);
            let what = format!("delete collection {body}");
            cases.push(self.case(&what, "DELETE", path, text));
        }
        let path = format!("{}/missing", self.collection);
        cases.push(self.case("delete what is missing", "DELETE", path, String::new()));
        cases
    }
}

/// Requests that belong to no resource.
pub fn general() -> Vec<Case> {
    let case = |path: &str| Case {
        resource: "discovery".into(),
        what: format!("get {path}"),
        method: "GET",
        path: path.into(),
        headers: vec![("accept", "application/json")],
        body: String::new(),
        own: Vec::new(),
    };
    GENERAL.iter().map(|path| case(path)).collect()
}

const GENERAL: &[&str] = &[
    "/api",
    "/apis",
    "/api/v1",
    "/api/v2",
    "/apis/none",
    "/apis/apps",
    "/apis/apps/v1",
    "/apis/batch/v1",
    "/apis/autoscaling/v1",
    "/apis/autoscaling/v2",
    "/apis/policy/v1",
    "/apis/networking.k8s.io/v1",
    "/apis/discovery.k8s.io/v1",
    "/apis/coordination.k8s.io/v1",
    "/apis/storage.k8s.io/v1",
    "/apis/scheduling.k8s.io/v1",
    "/apis/events.k8s.io/v1",
    "/apis/node.k8s.io/v1",
    "/apis/certificates.k8s.io/v1",
    "/apis/authentication.k8s.io/v1",
    "/apis/authorization.k8s.io/v1",
    "/apis/admissionregistration.k8s.io/v1",
    "/apis/apiextensions.k8s.io/v1",
    "/apis/apiregistration.k8s.io/v1",
    "/apis/flowcontrol.apiserver.k8s.io/v1",
    "/apis/resource.k8s.io/v1",
    "/apis/rbac.authorization.k8s.io/v1",
    "/version",
    "/healthz",
    "/livez",
    "/readyz",
    "/none",
    "/api/v1/none",
    "/apis/apps/v1/none",
    "/api/v1/namespaces/none/pods",
];

const LISTS: &[&str] = &[
    "",
    "limit=1",
    "limit=-1",
    "limit=abc",
    "continue=bad",
    "continue=bad&resourceVersion=1",
    "resourceVersion=abc",
    "resourceVersion=-1",
    "resourceVersion=0",
    "resourceVersionMatch=Exact",
    "resourceVersionMatch=Other",
    "resourceVersionMatch=Exact&resourceVersion=0",
    "resourceVersionMatch=NotOlderThan&resourceVersion=0",
    "resourceVersionMatch=NotOlderThan",
    "labelSelector=a%3Db",
    "labelSelector=a%20in%20(b,c)",
    "labelSelector=!!",
    "labelSelector=a%3D%3D",
    "labelSelector=-bad-%3Dx",
    "labelSelector=a%3Dnot%20valid",
    "fieldSelector=metadata.name%3Dsample",
    "fieldSelector=metadata.namespace%3Ddefault",
    "fieldSelector=spec.unheardof%3Dx",
    "fieldSelector=!!",
    "fieldSelector=metadata.name",
    "sendInitialEvents=true",
    "watch=true&timeoutSeconds=1&limit=-1",
    "watch=true&resourceVersion=abc&timeoutSeconds=1",
    "watch=true&sendInitialEvents=true&timeoutSeconds=1",
    "watch=true&sendInitialEvents=true&resourceVersionMatch=Exact&timeoutSeconds=1",
    "watch=maybe&timeoutSeconds=1",
    "watch=true&resourceVersionMatch=NotOlderThan&timeoutSeconds=1",
    "timeoutSeconds=abc",
    "allowWatchBookmarks=maybe",
    "watch=true&fieldSelector=spec.unheardof%3Dx&timeoutSeconds=1",
    "watch=true&labelSelector=!!&timeoutSeconds=1",
];

const ACCEPTS: &[&str] = &[
    "application/json",
    "application/yaml",
    "application/json;as=Table;v=v1;g=meta.k8s.io",
    "application/json;as=Table;v=v1beta1;g=meta.k8s.io",
    "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io",
    "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io",
    "application/json;as=Other;v=v1;g=meta.k8s.io",
    "application/xml",
    "application/cbor",
    "text/html,application/xhtml+xml,*/*;q=0.8",
    "nonsense",
];

const WRITES: &[&str] = &[
    "dryRun=Some",
    "dryRun=All&dryRun=All",
    "dryRun=All&fieldValidation=Other",
    "dryRun=All&fieldManager=",
    "dryRun=All&fieldManager=%0A",
    "dryRun=All&pretty=true",
    "dryRun=All&force=true",
    "dryRun=All&unheardof=1",
    "dryRun=",
];

const PATCHES: &[(&str, &str)] = &[
    ("application/json-patch+json", "{}"),
    ("application/json-patch+json", "[{}]"),
    ("application/json-patch+json", r#"[{"op":"test","path":"/metadata/name","value":"no"}]"#),
    ("application/json-patch+json", r#"[{"op":"remove","path":"/spec/none"}]"#),
    ("application/json-patch+json", r#"[{"op":"replace","path":"/metadata/name","value":"no"}]"#),
    (
        "application/json-patch+json",
        r#"[{"op":"add","path":"/metadata/labels","value":{"a":"b"}}]"#,
    ),
    ("application/json-patch+json", r#"[{"op":"never","path":"/metadata","value":1}]"#),
    ("application/json-patch+json", r#"[{"op":"add","path":"/kind","value":"Other"}]"#),
    ("application/merge-patch+json", "[]"),
    ("application/merge-patch+json", "{"),
    ("application/merge-patch+json", r#"{"metadata":{"labels":{"a":"b"}}}"#),
    ("application/merge-patch+json", r#"{"metadata":{"name":"other"}}"#),
    ("application/merge-patch+json", r#"{"metadata":{"uid":"other"}}"#),
    ("application/merge-patch+json", r#"{"metadata":{"resourceVersion":"1"}}"#),
    ("application/merge-patch+json", r#"{"metadata":null}"#),
    ("application/merge-patch+json", r#"{"unheardOf":1}"#),
    ("application/strategic-merge-patch+json", "[]"),
    ("application/strategic-merge-patch+json", r#"{"metadata":{"annotations":{"a":"b"}}}"#),
    ("application/strategic-merge-patch+json", r#"{"metadata":{"$patch":"never"}}"#),
    ("application/strategic-merge-patch+json", r#"{"metadata":{"finalizers":"text"}}"#),
    ("application/apply-patch+yaml", "{}"),
    ("text/plain", "{}"),
];

/// Options that delete nothing: where there is a body, the query does not count.
fn dry(options: &str) -> (String, &'static str) {
    match options.strip_prefix('{').filter(|rest| rest.ends_with('}')) {
        Some("}") => (r#"{"dryRun":["All"]}"#.into(), ""),
        Some(rest) if !options.contains("dryRun") => (format!(r#"{{"dryRun":["All"],{rest}"#), ""),
        _ => (options.into(), "?dryRun=All"),
    }
}

const DELETIONS: &[&str] = &[
    "",
    "{",
    "[]",
    "{}",
    r#"{"propagationPolicy":"Other"}"#,
    r#"{"propagationPolicy":"Foreground"}"#,
    r#"{"propagationPolicy":"Orphan","orphanDependents":true}"#,
    r#"{"gracePeriodSeconds":-1}"#,
    r#"{"gracePeriodSeconds":0}"#,
    r#"{"preconditions":{"uid":"other"}}"#,
    r#"{"preconditions":{"resourceVersion":"1"}}"#,
    r#"{"kind":"Other","apiVersion":"v1"}"#,
    r#"{"dryRun":["Some"]}"#,
    r#"{"unheardOf":1}"#,
];
