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

/// Everything that is built for this platform, with its licence.
fn packages() -> Vec<Package> {
    let mut command = MetadataCommand::new();
    let platform = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let options = ["--locked", "--filter-platform", &platform].map(str::to_owned);
    command.manifest_path(root().join("Cargo.toml")).other_options(options);
    command.exec().expect("cargo metadata runs").packages
}

/// The words in quotation marks of `deny.toml` that follow `start`, up to `end`.
fn deny_list(start: &str, end: &str) -> Vec<String> {
    let text = std::fs::read_to_string(root().join("deny.toml")).expect("it is there");
    let list = text.split_once(start).and_then(|(_, rest)| rest.split_once(end));
    let (list, _) = list.unwrap_or_else(|| panic!("deny.toml has {start:?}"));
    list.split('"').skip(1).step_by(2).map(str::to_owned).collect()
}

/// Whether an SPDX expression can be met with these licences; old ones separate by a slash.
fn is_licensed(expression: &str, allowed: &[String]) -> bool {
    let parts = |by| top_level(expression, by);
    for or in [" OR ", "/"] {
        if let Some((first, rest)) = parts(or) {
            return is_licensed(first, allowed) || is_licensed(rest, allowed);
        }
    }
    if let Some((first, rest)) = parts(" AND ") {
        return is_licensed(first, allowed) && is_licensed(rest, allowed);
    }
    let expression = expression.trim();
    match expression.strip_prefix('(').and_then(|rest| rest.strip_suffix(')')) {
        Some(inner) => is_licensed(inner, allowed),
        None => allowed.iter().any(|one| one == expression),
    }
}

/// Splits where the operator stands outside of brackets.
fn top_level<'a>(expression: &'a str, operator: &str) -> Option<(&'a str, &'a str)> {
    let outside = |at: usize| {
        let before = &expression[..at];
        before.matches('(').count() == before.matches(')').count()
    };
    let (at, _) = expression.match_indices(operator).find(|(at, _)| outside(*at))?;
    Some((&expression[..at], &expression[at + operator.len()..]))
}

#[test]
fn licences_are_allowed_ones() {
    let allowed = deny_list("allow = [", "]");
    let broken = packages().into_iter().filter_map(|package| {
        let licence = package.license.unwrap_or_default();
        (!is_licensed(&licence, &allowed)).then(|| format!("{}: {licence:?}", package.name))
    });
    assert_none("licences are those of deny.toml", broken.collect());
    for (expression, expected) in
        [("(MIT OR GPL-3.0) AND ISC", true), ("MIT AND GPL-3.0", false), ("GPL-3.0/MIT", true)]
    {
        assert_eq!(is_licensed(expression, &allowed), expected, "{expression}");
    }
}

#[test]
fn banned_packages_stay_out() {
    let banned = deny_list("deny = [", "]");
    // Between the names stand the reasons, which are no package's name.
    let all = packages();
    let broken = all.iter().filter(|package| banned.iter().any(|name| package.name == *name));
    assert_none("deny.toml's bans hold", broken.map(|one| one.name.to_string()).collect());
    let strangers = all.iter().filter(|one| {
        one.source.as_ref().is_some_and(|source| !source.repr.contains("crates.io-index"))
    });
    assert_none("packages come from crates.io", strangers.map(|o| o.name.to_string()).collect());
}

/// The documents that say what lies where.
const DOCUMENTS: [&str; 5] = [
    "README.md",
    "ARCHITECTURE.md",
    "core/apiserver/DIFFERENCES.md",
    "plugins/README.md",
    "deploy/samples/storefront/README.md",
];

/// `a/{b,c}/d` as `a/b/d` and `a/c/d`.
fn expanded(path: &str) -> Vec<String> {
    let Some((head, rest)) = path.split_once('{') else { return vec![path.to_owned()] };
    let Some((names, tail)) = rest.split_once('}') else { return vec![path.to_owned()] };
    names.split(',').flat_map(|name| expanded(&format!("{head}{name}{tail}"))).collect()
}

/// Paths that a text names: targets of links beside it, and what stands in backticks and begins
/// with one of our folders.
fn named_paths(document: &str, text: &str) -> Vec<String> {
    let folder = Path::new(document).parent().expect("it lies somewhere");
    let links = text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    let links = links.filter(|link| !link.contains("://") && !link.starts_with('#'));
    let links = links.map(|link| folder.join(link).to_string_lossy().into_owned());
    let folders = ["core/", "plugins/", "agents/", "federation/", "deploy/", "tests/", "wit/"];
    let quoted = text.split('`').skip(1).step_by(2);
    let quoted = quoted.filter(|word| folders.iter().any(|folder| word.starts_with(folder)));
    let quoted = quoted.filter(|word| !word.contains([' ', '\n', '<']));
    links.chain(quoted.flat_map(expanded)).collect()
}

#[test]
fn documents_name_what_is_there() {
    let mut broken = Vec::new();
    for document in DOCUMENTS {
        let text = std::fs::read_to_string(root().join(document)).expect("it is there");
        for path in named_paths(document, &text) {
            let known = path.split('*').next().unwrap_or_default();
            if !root().join(known).exists() {
                broken.push(format!("{document}: {path}"));
            }
        }
    }
    assert_none("documents name files and folders that exist", broken);
}

#[test]
fn the_code_map_has_every_crate() {
    let text = std::fs::read_to_string(root().join("ARCHITECTURE.md")).expect("it is there");
    let rows = text.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next());
    let rows: Vec<_> = rows.flat_map(expanded).collect();
    let mapped = |place: &str| {
        rows.iter().any(|row| match row.strip_suffix('*') {
            Some(folder) => place.starts_with(folder),
            None => place == row,
        })
    };
    let all = workspace();
    let broken = all.values().filter(|krate| !mapped(&krate.place));
    assert_none(
        "ARCHITECTURE.md's map names every crate",
        broken.map(|k| k.place.clone()).collect(),
    );
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
