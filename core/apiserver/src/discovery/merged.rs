//! Groups and versions served here and elsewhere, in the order in which clients should prefer them.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;

use crate::aggregation::{Backend, CUSTOM, Priority, Routes};
use crate::generic::catalog::{Served, Snapshot, compare_versions};

/// One group.
pub(super) struct GroupView<'a> {
    pub(super) name: &'a str,
    /// Its versions, preferred first.
    pub(super) versions: Vec<VersionView<'a>>,
}

/// One version of a group.
pub(super) struct VersionView<'a> {
    pub(super) name: &'a str,
    pub(super) source: Source<'a>,
    priority: Priority,
}

/// Who serves it.
pub(super) enum Source<'a> {
    /// This server.
    Local(&'a [Arc<Served>]),
    /// Another one.
    Remote(&'a Backend),
}

/// Every group, the preferred ones first.
pub(super) fn groups<'a>(snapshot: &'a Snapshot, routes: &'a Routes) -> Vec<GroupView<'a>> {
    let mut by_name: BTreeMap<&str, BTreeMap<&str, VersionView<'_>>> = BTreeMap::new();
    for (group, versions) in &snapshot.groups {
        let own = by_name.entry(group).or_default();
        for (version, served) in &versions.resources {
            let priority = Priority::builtin(group, version).unwrap_or(CUSTOM);
            let source = Source::Local(served);
            own.insert(version, VersionView { name: version, source, priority });
        }
    }
    for backend in routes.all() {
        let (name, priority) = (backend.version.as_str(), backend.priority);
        let view = VersionView { name, source: Source::Remote(backend), priority };
        by_name.entry(&backend.group).or_default().insert(name, view);
    }
    let mut groups: Vec<GroupView<'_>> = by_name.into_iter().map(group).collect();
    groups.sort_by_key(|group| Reverse(group.priority()));
    groups
}

fn group<'a>((name, versions): (&'a str, BTreeMap<&'a str, VersionView<'a>>)) -> GroupView<'a> {
    let mut versions: Vec<_> = versions.into_values().collect();
    versions.sort_by(|a, b| {
        let order = b.priority.version.cmp(&a.priority.version);
        order.then_with(|| compare_versions(b.name, a.name))
    });
    GroupView { name, versions }
}

impl GroupView<'_> {
    /// The highest that any of its versions asks for.
    fn priority(&self) -> i64 {
        self.versions.iter().map(|version| version.priority.group).max().unwrap_or_default()
    }
}
