//! The rules of the house, over `cargo metadata` and the files that git knows.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use cargo_metadata::{DependencyKind, MetadataCommand, Package};

/// A workspace package: where it lies, and which workspace packages it names.
struct Crate {
    /// Relative to the root, such as `core/api`.
    place: String,
    /// Names of workspace packages among its dependencies.
    uses: BTreeSet<String>,
    /// The same, of its dev-dependencies.
    dev_uses: BTreeSet<String>,
    /// Names of all its dependencies, dev ones apart.
    packages: BTreeSet<String>,
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests lies in the root").to_path_buf()
}

fn workspace() -> BTreeMap<String, Crate> {
    let mut command = MetadataCommand::new();
    command.manifest_path(root().join("Cargo.toml")).no_deps();
    let metadata = command.exec().expect("cargo metadata runs");
    let names: BTreeSet<_> = metadata.packages.iter().map(|p| p.name.to_string()).collect();
    metadata
        .packages
        .iter()
        .map(|package| (package.name.to_string(), read(package, &names)))
        .collect()
}

fn read(package: &Package, names: &BTreeSet<String>) -> Crate {
    let folder = package.manifest_path.parent().expect("a manifest lies in a folder");
    let place = folder.as_std_path().strip_prefix(root()).expect("it lies below the root");
    let of = |dev: bool| {
        let wanted = package
            .dependencies
            .iter()
            .filter(move |dependency| (dependency.kind == DependencyKind::Development) == dev);
        wanted.map(|dependency| dependency.name.clone()).collect::<BTreeSet<_>>()
    };
    Crate {
        place: place.to_string_lossy().into_owned(),
        uses: of(false).intersection(names).cloned().collect(),
        dev_uses: of(true).intersection(names).cloned().collect(),
        packages: of(false),
    }
}

/// Panics with every crate that breaks a rule.
fn assert_none(rule: &str, broken: Vec<String>) {
    assert!(broken.is_empty(), "{rule}:\n{}", broken.join("\n"));
}

fn who_names<'a>(
    all: &'a BTreeMap<String, Crate>,
    package: &'a str,
) -> impl Iterator<Item = &'a Crate> {
    all.values().filter(move |krate| krate.uses.contains(package))
}

#[test]
fn the_lowest_crates_name_no_other() {
    let all = workspace();
    let broken = ["hansa-api", "hansa-storage", "hansa-component"]
        .iter()
        .filter(|name| !all[**name].uses.is_empty())
        .map(|name| format!("{name} names {:?}", all[*name].uses));
    assert_none("api, storage and component name no workspace crate", broken.collect());
}

#[test]
fn the_apiserver_is_the_only_door_to_state() {
    let all = workspace();
    let may = ["core/apiserver", "deploy/hansa", "tests"];
    let broken = who_names(&all, "hansa-storage").filter(|krate| !may.contains(&&*krate.place));
    assert_none("only the apiserver names storage", broken.map(|k| k.place.clone()).collect());
}

#[test]
fn only_the_composition_root_names_the_plugin_host() {
    let all = workspace();
    let may = ["deploy/hansa", "tests"];
    let broken = who_names(&all, "hansa-plugin-host").filter(|krate| !may.contains(&&*krate.place));
    assert_none("plugins/host is joined by binaries", broken.map(|k| k.place.clone()).collect());
}

#[test]
fn agents_name_neither_apiserver_nor_storage() {
    let all = workspace();
    let broken = all.values().filter(|krate| krate.place.starts_with("agents/")).filter(|krate| {
        krate.uses.contains("hansa-apiserver") || krate.uses.contains("hansa-storage")
    });
    assert_none("agents are clients", broken.map(|krate| krate.place.clone()).collect());
}

#[test]
fn nothing_below_knows_the_federation() {
    let all = workspace();
    let broken = all
        .values()
        .filter(|krate| !krate.place.starts_with("federation/"))
        .filter(|krate| !["deploy/hansa", "tests"].contains(&&*krate.place))
        .filter(|krate| krate.uses.iter().any(|name| all[name].place.starts_with("federation/")));
    assert_none("the federation is a mere client", broken.map(|k| k.place.clone()).collect());
}

#[test]
fn heavy_dependencies_have_one_carrier() {
    let all = workspace();
    let carriers: [(&str, &[&str]); 8] = [
        ("wasmtime", &["plugins/host", "agents/runtime"]),
        ("wasmtime-wasi", &["agents/runtime"]),
        ("kube", &["core/client"]),
        ("etcd-client", &["core/storage"]),
        ("hickory-proto", &["agents/dns"]),
        ("rcgen", &["deploy/bootstrap", "agents/kubelet"]),
        ("k8s-cri", &["agents/kubelet", "agents/runtime"]),
        ("config", &["core/component"]),
    ];
    let mut broken = Vec::new();
    for (package, may) in carriers {
        let named = all.values().filter(|krate| krate.packages.contains(package));
        let strangers = named.filter(|krate| !may.contains(&&*krate.place));
        broken.extend(strangers.map(|krate| format!("{} names {package}", krate.place)));
    }
    assert_none("a heavy dependency has its place", broken);
}

#[test]
fn dev_dependencies_make_no_cycle() {
    let all = workspace();
    let mut broken = Vec::new();
    for (name, krate) in &all {
        for dev in &krate.dev_uses {
            if reaches(&all, dev, name, &mut BTreeSet::new()) {
                broken.push(format!("{name} -> {dev} -> {name}"));
            }
        }
    }
    assert_none("no dev-dependency cycles", broken);
}

fn reaches(
    all: &BTreeMap<String, Crate>,
    from: &str,
    to: &str,
    seen: &mut BTreeSet<String>,
) -> bool {
    let Some(krate) = all.get(from).filter(|_| seen.insert(from.to_owned())) else { return false };
    krate.uses.contains(to) || krate.uses.iter().any(|next| reaches(all, next, to, seen))
}

/// The Rust files that git knows, with their text.
fn sources() -> Vec<(String, String)> {
    let listed = Command::new("git")
        .args(["ls-files", "--cached", "--others", "--exclude-standard", "*.rs"])
        .current_dir(root())
        .output()
        .expect("git runs");
    let names = String::from_utf8(listed.stdout).expect("file names are UTF-8");
    let read = |name: &str| {
        std::fs::read_to_string(root().join(name)).ok().map(|text| (name.to_owned(), text))
    };
    let all: Vec<_> = names.lines().filter_map(read).collect();
    assert!(all.len() > 50, "git lists the sources");
    all
}

/// Written by a program.
fn is_generated(name: &str) -> bool {
    name.contains("/bindings/") || name.contains("/generated/")
}

#[test]
fn files_are_short_and_say_what_they_are_for() {
    let mut broken = Vec::new();
    for (name, text) in sources().iter().filter(|(name, _)| !is_generated(name)) {
        let lines = text.lines().count();
        let tests = name.ends_with("tests.rs") || name.contains("/tests/");
        if lines > 1000 && !tests {
            broken.push(format!("{name}: {lines} lines"));
        }
        if !text.starts_with("//!") {
            broken.push(format!("{name}: it does not begin with a module doc"));
        }
    }
    assert_none("files are at most 1,000 lines and documented", broken);
}

#[test]
fn nothing_is_left_unwritten() {
    let marks = [concat!("todo", "!("), concat!("unimplemented", "!("), concat!("FIX", "ME")];
    let mut broken = Vec::new();
    for (name, text) in sources() {
        for (number, line) in text.lines().enumerate() {
            if marks.iter().any(|mark| line.contains(mark)) {
                broken.push(format!("{name}:{}: {}", number + 1, line.trim()));
            }
        }
    }
    assert_none("nothing is left for later in the code", broken);
}
