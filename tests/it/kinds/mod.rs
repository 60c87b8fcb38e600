//! Every served kind: discovery decides which, and each needs a sample here.

use std::collections::BTreeSet;

use hansa_tests::{Kubectl, Version};
use serde_json::Value;

use crate::scenario::on;

const SAMPLES: &str = include_str!("samples.yaml");

on!(hollow: every_kind_is_made_shown_and_deleted);

/// A resource that discovery names: `plural.version.group`, as kubectl takes it.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Served {
    api_version: String,
    kind: String,
    argument: String,
}

/// One object of the file.
struct Sample {
    api_version: String,
    kind: String,
    name: String,
    text: String,
}

fn every_kind_is_made_shown_and_deleted(kubectl: &Kubectl) {
    let served = served(kubectl);
    let samples = samples(kubectl);
    let sampled = |one: &Served| {
        samples.iter().find(|s| s.api_version == one.api_version && s.kind == one.kind)
    };
    let missing: Vec<_> =
        served.iter().filter(|one| sampled(one).is_none()).map(|one| &one.argument).collect();
    assert!(missing.is_empty(), "served, and without a sample: {missing:?}");
    let pairs: Vec<_> = served.iter().filter_map(|one| Some((one, sampled(one)?))).collect();

    let text: Vec<_> = samples.iter().map(|sample| sample.text.as_str()).collect();
    let made = kubectl.with(&["create"], &text.join("---\n"));
    assert!(made.success, "{}", made.stderr);
    let arguments: Vec<_> =
        pairs.iter().map(|(one, sample)| format!("{}/{}", one.argument, sample.name)).collect();
    shown(kubectl, &arguments, &pairs);
    deleted(kubectl, &arguments);
}

fn get(kubectl: &Kubectl, arguments: &[String], more: &[&str]) -> String {
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    kubectl.ok(&[&["get"], &arguments[..], more].concat())
}

fn shown(kubectl: &Kubectl, arguments: &[String], pairs: &[(&Served, &Sample)]) {
    for form in [&[][..], &["-o", "wide"]] {
        let tables = get(kubectl, arguments, form);
        // Events begin with their age.
        let is_heading = |line: &&str| line.starts_with("NAME") || line.starts_with("LAST SEEN");
        let headings = tables.lines().filter(is_heading).count();
        assert_eq!(headings, pairs.len(), "{tables}");
        for (one, sample) in pairs {
            let row = format!("/{} ", sample.name);
            let found = tables.lines().any(|line| format!("{line} ").contains(&row));
            assert!(found, "no {} in\n{tables}", one.argument);
        }
    }
    let list: Value = serde_json::from_str(&get(kubectl, arguments, &["-o", "json"])).unwrap();
    for ((one, sample), item) in pairs.iter().zip(list["items"].as_array().unwrap()) {
        assert_eq!(item["apiVersion"], one.api_version.as_str());
        assert_eq!(item["kind"], one.kind.as_str());
        assert_eq!(item["metadata"]["name"], sample.name.as_str());
    }
    let yaml = get(kubectl, arguments, &["-o", "yaml"]);
    assert_eq!(yaml.matches("\n  kind: ").count(), pairs.len(), "{yaml}");
}

fn deleted(kubectl: &Kubectl, arguments: &[String]) {
    let words: Vec<_> = arguments.iter().map(String::as_str).collect();
    kubectl.ok(&[&["delete", "--wait=false"], &words[..]].concat());
    let left = kubectl.ok(&[&["get", "--ignore-not-found", "-o", "json"], &words[..]].concat());
    let left: Value = serde_json::from_str(&left).unwrap_or_default();
    for object in left["items"].as_array().into_iter().flatten() {
        assert!(object["metadata"]["deletionTimestamp"].is_string(), "{object}");
    }
}

/// Whatever can be made, read and deleted, custom kinds apart.
fn served(kubectl: &Kubectl) -> BTreeSet<Served> {
    let raw = |path: &str| -> Value {
        serde_json::from_str(&kubectl.ok(&["get", "--raw", path])).unwrap()
    };
    let groups = raw("/apis")["groups"].as_array().unwrap().clone();
    let versions = groups.iter().flat_map(|group| group["versions"].as_array().unwrap());
    let versions = versions.filter_map(|version| version["groupVersion"].as_str());
    let builtin = |version: &&str| {
        let group = version.split('/').next().unwrap_or_default();
        !group.contains('.') || group.ends_with(".k8s.io")
    };
    let paths = versions.filter(builtin).map(|version| format!("/apis/{version}"));
    paths.chain(["/api/v1".into()]).flat_map(|path| resources(&raw(&path))).collect()
}

fn resources(list: &Value) -> Vec<Served> {
    let api_version = list["groupVersion"].as_str().unwrap();
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    let all = list["resources"].as_array().unwrap().iter();
    let whole = all.filter(|resource| {
        let has = |verb: &str| resource["verbs"].as_array().unwrap().iter().any(|v| v == verb);
        !resource["name"].as_str().unwrap().contains('/') && has("create") && has("delete")
    });
    whole
        .map(|resource| Served {
            api_version: api_version.to_owned(),
            kind: resource["kind"].as_str().unwrap().to_owned(),
            argument: format!("{}.{version}.{group}", resource["name"].as_str().unwrap()),
        })
        .collect()
}

fn samples(kubectl: &Kubectl) -> Vec<Sample> {
    let number = if kubectl.version == Version::V1_33 { "133" } else { "127" };
    let text = SAMPLES.replace("NAMESPACE", &kubectl.namespace).replace("NUMBER", number);
    let text = text.replace("NAME", &format!("sample{number}"));
    text.split("---\n").skip(1).map(sample).collect()
}

fn sample(text: &str) -> Sample {
    let field = |start: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(start));
        line.unwrap_or_else(|| panic!("no {start} in {text}")).to_owned()
    };
    Sample {
        api_version: field("apiVersion: "),
        kind: field("kind: "),
        name: field("metadata: {name: ").trim_end_matches('}').to_owned(),
        text: text.to_owned(),
    }
}
