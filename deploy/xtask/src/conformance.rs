//! `cargo xtask conformance E2E_TEST`: upstream's conformance suite against a cluster of ours, and
//! the ledger `tests/conformance.tsv` of what passes.
//!
//! A Go of 1.27 or later builds `E2E_TEST` with `GOEXPERIMENT=nojsonv2`: otherwise the suite itself
//! makes empty schemas, and its specs about published OpenAPI cannot pass anywhere. Specs whose pods
//! must really run want `--kubeconfig` of a cluster on containerd that has the suite's images.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::run;

const LEDGER: &str = "tests/conformance.tsv";
const HEADER: &str = "spec\tsig\tstate\tsince\n";
/// The groups of specs that an API server answers for.
const SIGS: &str = "api-machinery|auth|architecture|instrumentation|cli";

/// Arguments of `cargo xtask conformance`.
#[derive(clap::Args)]
pub struct Args {
    /// Upstream's `e2e.test`, of the version that we present.
    e2e_test: PathBuf,
    /// Only specs whose whole name matches; the others' rows stay as they are.
    #[arg(long, default_value_t = format!(r"\[sig-({SIGS})\].*\[Conformance\]"))]
    focus: String,
    /// Leave out specs whose whole name matches.
    #[arg(long)]
    skip: Option<String>,
    /// The kubeconfig of a running cluster; without it, one is started and removed.
    #[arg(long)]
    kubeconfig: Option<PathBuf>,
    /// The started cluster's container runtime, as in `hansa up`.
    #[arg(long, default_value = "wasm")]
    runtime: String,
}

/// Runs the suite and rewrites the ledger.
///
/// # Errors
/// If the suite cannot run, or if a spec that passed before does not pass now.
pub fn run(root: &Path, args: &Args) -> Result<()> {
    let work = root.join("target/conformance");
    fs::create_dir_all(&work)?;
    let report = work.join("report.json");
    let _ = fs::remove_file(&report);
    let status = match &args.kubeconfig {
        Some(kubeconfig) => suite(args, kubeconfig, &report)?,
        None => on_a_new_cluster(root, args, &report)?,
    };
    let text = fs::read_to_string(&report)
        .with_context(|| format!("failed to read the suite's report (it ended with {status})"))?;
    let outcomes = outcomes(&serde_json::from_str(&text)?);
    if outcomes.is_empty() {
        bail!("no conformance spec matches {:?}", args.focus);
    }
    let path = root.join(LEDGER);
    let before = Ledger::parse(&fs::read_to_string(&path).unwrap_or_default());
    let after = before.updated(&outcomes, &commit(root)?);
    fs::write(&path, after.render())?;
    println!("{}", after.summary());
    let lost = before.lost(&outcomes);
    if !lost.is_empty() {
        bail!("passed before, and does not pass now:\n  {}", lost.join("\n  "));
    }
    Ok(())
}

fn commit(root: &Path) -> Result<String> {
    let mut git = Command::new("git");
    git.current_dir(root).args(["rev-parse", "--short", "HEAD"]);
    Ok(run::output(&mut git)?.trim().to_owned())
}

/// Starts a cluster with data and kubeconfig of its own, and takes it down whatever happens.
fn on_a_new_cluster(root: &Path, args: &Args, report: &Path) -> Result<ExitStatus> {
    run::ok(run::cargo(root).args(["build", "--release", "-p", "hansa"]))?;
    let work = root.join("target/conformance");
    let kubeconfig = work.join("kubeconfig");
    let hansa = |words: &[&str]| {
        let mut command = Command::new(root.join("target/release/hansa"));
        command.env("XDG_DATA_HOME", work.join("data")).env("KUBECONFIG", &kubeconfig).args(words);
        command
    };
    run::ok(&mut hansa(&["up", "conformance", "--runtime", &args.runtime, "--nodes", "2"]))?;
    let outcome = suite(args, &kubeconfig, report);
    run::ok(&mut hansa(&["down", "conformance", "--purge"]))?;
    outcome
}

fn suite(args: &Args, kubeconfig: &Path, report: &Path) -> Result<ExitStatus> {
    let mut suite = Command::new(&args.e2e_test);
    suite.args(["--provider=local", "--allowed-not-ready-nodes=-1", "--minStartupPods=-1"]);
    suite.args(["--dump-logs-on-failure=false", "--ginkgo.no-color", "--ginkgo.succinct"]);
    suite.arg(format!("--kubeconfig={}", kubeconfig.display()));
    suite.arg(format!("--ginkgo.focus={}", args.focus));
    suite.args(args.skip.iter().map(|skip| format!("--ginkgo.skip={skip}")));
    suite.arg(format!("--ginkgo.json-report={}", report.display()));
    suite.status().with_context(|| format!("failed to start {}", args.e2e_test.display()))
}

/// How each conformance spec of a report ended, by its name; those not run are left out.
fn outcomes(report: &Value) -> BTreeMap<String, &'static str> {
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let specs =
        list(report).iter().flat_map(|suite| list(&suite["SpecReports"])).collect::<Vec<_>>();
    specs.iter().filter_map(|spec| Some((name(spec)?, state(spec)?))).collect()
}

/// A spec's whole name, if it is a conformance spec.
fn name(spec: &Value) -> Option<String> {
    let mut parts: Vec<&str> =
        spec["ContainerHierarchyTexts"].as_array()?.iter().filter_map(Value::as_str).collect();
    parts.push(spec["LeafNodeText"].as_str()?);
    let name = parts.join(" ");
    name.contains("[Conformance]").then_some(name)
}

fn state(spec: &Value) -> Option<&'static str> {
    match spec["State"].as_str()? {
        "passed" => Some("passed"),
        "skipped" if !spec["Failure"].is_object() => None,
        "skipped" => Some("skipped"),
        "pending" => None,
        _ => Some("failed"),
    }
}

/// One spec of the ledger.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Row {
    state: String,
    /// The commit that the spec has been in this state since.
    since: String,
}

/// Every conformance spec that was ever run, by its name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Ledger(BTreeMap<String, Row>);

impl Ledger {
    fn parse(text: &str) -> Self {
        let row = |line: &str| {
            let mut cells = line.split('\t');
            let (spec, _, state) = (cells.next()?, cells.next()?, cells.next()?);
            let row = Row { state: state.into(), since: cells.next()?.into() };
            Some((spec.to_owned(), row))
        };
        Self(text.lines().skip(1).filter_map(row).collect())
    }

    fn render(&self) -> String {
        let mut text = String::from(HEADER);
        for (spec, Row { state, since }) in &self.0 {
            let _ = writeln!(text, "{spec}\t{}\t{state}\t{since}", sig(spec));
        }
        text
    }

    /// The ledger after a run; a row whose state stays keeps its commit.
    fn updated(&self, outcomes: &BTreeMap<String, &'static str>, commit: &str) -> Self {
        let mut rows = self.0.clone();
        for (spec, state) in outcomes {
            if rows.get(spec).is_none_or(|row| row.state != *state) {
                let row = Row { state: (*state).into(), since: commit.into() };
                rows.insert(spec.clone(), row);
            }
        }
        Self(rows)
    }

    /// Specs that passed and now do not.
    fn lost(&self, outcomes: &BTreeMap<String, &'static str>) -> Vec<String> {
        let passed = |spec: &str| self.0.get(spec).is_some_and(|row| row.state == "passed");
        let lost = outcomes.iter().filter(|(spec, state)| **state != "passed" && passed(spec));
        lost.map(|(spec, _)| spec.clone()).collect()
    }

    /// Passed and all, by sig.
    fn summary(&self) -> String {
        let mut counts: BTreeMap<&str, (u32, u32)> = BTreeMap::new();
        for (spec, row) in &self.0 {
            let (passed, all) = counts.entry(sig(spec)).or_default();
            *passed += u32::from(row.state == "passed");
            *all += 1;
        }
        let line = |(sig, (passed, all)): (&&str, &(u32, u32))| format!("{sig}: {passed} of {all}");
        counts.iter().map(line).collect::<Vec<_>>().join("\n")
    }
}

/// The first `[sig-…]` of a spec's name, without the brackets.
fn sig(spec: &str) -> &str {
    let found = spec.split_once("[sig-").and_then(|(_, rest)| rest.split_once(']'));
    found.map_or("none", |(sig, _)| sig)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn report(state: &str) -> Value {
        let spec = |leaf: &str, state: &str| {
            json!({"ContainerHierarchyTexts": ["[sig-cli] kubectl"], "LeafNodeText": leaf,
                   "State": state})
        };
        json!([{"SpecReports": [
            spec("runs [Conformance]", state),
            spec("is not asked [Conformance]", "skipped"),
            spec("is another's", "failed"),
        ]}])
    }

    #[test]
    fn a_row_keeps_its_commit_until_its_state_changes() {
        let first = Ledger::default().updated(&outcomes(&report("passed")), "a1");
        let same = first.updated(&outcomes(&report("passed")), "b2");
        assert_eq!(same, first);
        let text =
            "spec\tsig\tstate\tsince\n[sig-cli] kubectl runs [Conformance]\tcli\tpassed\ta1\n";
        assert_eq!((same.render().as_str(), Ledger::parse(text)), (text, first));
        let failed = outcomes(&report("panicked"));
        assert_eq!(same.lost(&failed), ["[sig-cli] kubectl runs [Conformance]"]);
        assert!(same.updated(&failed, "c3").render().ends_with("\tcli\tfailed\tc3\n"));
        assert_eq!(same.summary(), "cli: 1 of 1");
    }
}
