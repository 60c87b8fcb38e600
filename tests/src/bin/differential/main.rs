//! `cargo xtask differential --peer DIR`: the same requests to upstream's kube-apiserver and to
//! ours, and every difference in what they answer.
//!
//! Nearly all requests are dry runs, so that their order does not matter. The report groups what
//! differs in the same way, and a file of JSON lines beside it holds every difference; what is to
//! stay is explained in `core/apiserver/DIFFERENCES.md`.
//!
//! What no two servers have in common is left out of the comparison: see [`compare`].

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use clap::Parser;
use hansa_tests::Http;
use serde_json::{Value, json};

mod compare;
mod plan;
mod servers;
mod vary;

use compare::{Difference, difference};
use plan::{Case, Sample};
use servers::Servers;

const SAMPLES: [&str; 3] = [
    include_str!("samples/core.yaml"),
    include_str!("samples/workloads.yaml"),
    include_str!("samples/others.yaml"),
];
/// Requests under way at once.
const THREADS: usize = 4;

/// The same requests to upstream's kube-apiserver and to ours.
#[derive(Parser)]
struct Args {
    /// The folder of upstream's `kube-apiserver`; `etcd` is on the path.
    #[arg(long)]
    peer: PathBuf,
    /// Our program.
    #[arg(long, default_value = "target/release/hansa")]
    hansa: PathBuf,
    /// Only resources whose name contains this, such as `pods` or `networking`.
    #[arg(long, default_value = "")]
    only: String,
    /// Only every so-manieth sample: `2/4` is the second quarter of them.
    #[arg(long, default_value = "1/1")]
    portion: Portion,
    /// Where the report goes; the list of every difference lies beside it, as `.jsonl`.
    #[arg(long, default_value = "target/differential.txt")]
    report: PathBuf,
}

/// A part of the samples: the `part`th of `of` equal ones.
#[derive(Clone, Copy)]
struct Portion {
    part: usize,
    of: usize,
}

impl std::str::FromStr for Portion {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let numbers = text
            .split_once('/')
            .and_then(|(part, of)| Some(Self { part: part.parse().ok()?, of: of.parse().ok()? }));
        let numbers = numbers.filter(|portion| (1..=portion.of).contains(&portion.part));
        numbers.ok_or_else(|| format!("{text:?} is no portion such as 2/4"))
    }
}

fn main() -> ExitCode {
    let args = Args::parse();
    let servers = Servers::start(&args.hansa, &args.peer);
    let samples = prepare(&servers, &args.only);
    let chosen = samples.into_iter().skip(args.portion.part - 1).step_by(args.portion.of);
    let samples: Vec<Sample> = chosen.collect();
    let mut run = Run { servers: &servers, sent: 0, found: Vec::new() };
    if args.only.is_empty() && args.portion.part == 1 {
        run.all(plan::general());
    }
    run.all(samples.iter().flat_map(Sample::creations).collect());
    for sample in &samples {
        run.all(vec![sample.creation()]);
    }
    run.all(samples.iter().flat_map(|sample| run.updates(sample)).collect());
    run.all(samples.iter().flat_map(Sample::requests).collect());
    for sample in samples.iter().rev() {
        run.all(vec![sample.removal()]);
    }
    let report = run.report();
    std::fs::write(&args.report, &report).expect("the report can be written");
    std::fs::write(args.report.with_extension("jsonl"), run.list()).expect("so can the list");
    println!("{}", run.summary());
    println!("the report is in {}", args.report.display());
    ExitCode::SUCCESS
}

/// Makes what samples need to be there, and finds their resources.
fn prepare(servers: &Servers, only: &str) -> Vec<Sample> {
    let account = json!({"metadata": {"name": "default"}});
    let objects: Vec<Value> = SAMPLES.iter().flat_map(|text| documents(text)).collect();
    for client in [&servers.peer, &servers.ours] {
        client.post("/api/v1/namespaces/default/serviceaccounts", &account);
        let crds = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
        let crd = objects.iter().find(|object| object["kind"] == "CustomResourceDefinition");
        client.post(crds, crd.expect("there is a sample of it"));
        let begun = Instant::now();
        while client.get("/apis/samples.example.com/v1/widgets").code != 200 {
            assert!(begun.elapsed() < Duration::from_secs(30), "custom resources are not served");
            std::thread::sleep(Duration::from_millis(100));
        }
    }
    let samples = objects.into_iter().filter_map(|object| Sample::find(&servers.peer, object));
    samples.filter(|sample| sample.is_of(only)).collect()
}

/// The documents of a YAML stream.
fn documents(text: &str) -> Vec<Value> {
    let parts = text.split("\n---\n");
    parts.map(|part| serde_saphyr::from_str(part).expect("samples are YAML")).collect()
}

struct Run<'a> {
    servers: &'a Servers,
    sent: usize,
    found: Vec<(Case, Difference)>,
}

impl Run<'_> {
    fn all(&mut self, cases: Vec<Case>) {
        self.sent += cases.len();
        let next = AtomicUsize::new(0);
        let found = Mutex::new(Vec::new());
        std::thread::scope(|scope| {
            for _ in 0..THREADS {
                scope.spawn(|| {
                    while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                        if let Some(difference) = self.ask(case) {
                            found.lock().expect("nobody panics").push((case.clone(), difference));
                        }
                    }
                });
            }
        });
        self.found.extend(found.into_inner().expect("nobody panics"));
    }

    fn ask(&self, case: &Case) -> Option<Difference> {
        let send = |client: &Http, body: &str| {
            client.try_send(case.method, &case.path, &case.headers, body)
        };
        let replaced = |body: String, (peer, ours): &(String, String)| body.replace(peer, ours);
        let our_body = case.own.iter().fold(case.body.clone(), replaced);
        let peer = send(&self.servers.peer, &case.body);
        difference(peer.as_ref(), send(&self.servers.ours, &our_body).as_ref())
    }

    /// Updates of what the peer has stored, or of the sample where it has nothing.
    fn updates(&self, sample: &Sample) -> Vec<Case> {
        let [peer, ours] =
            [&self.servers.peer, &self.servers.ours].map(|one| one.get(&sample.item()));
        if peer.code == 200 { sample.updates(&peer.body, &ours.body) } else { Vec::new() }
    }

    /// Groups of equal differences, the largest first, with one example each.
    fn report(&self) -> String {
        let mut groups: BTreeMap<String, Vec<&(Case, Difference)>> = BTreeMap::new();
        for found in &self.found {
            groups.entry(signature(found)).or_default().push(found);
        }
        let mut groups: Vec<_> = groups.into_iter().collect();
        groups.sort_by_key(|(_, members)| std::cmp::Reverse(members.len()));
        let mut text = self.summary();
        for (name, members) in groups {
            let _ = writeln!(text, "\n== {} x {name}", members.len());
            for (case, difference) in members.iter().take(3) {
                let _ = writeln!(text, "{} {} {}", case.resource, case.method, case.what);
                let _ = writeln!(text, "  peer: {}", indented(&difference.peer));
                let _ = writeln!(text, "  ours: {}", indented(&difference.ours));
            }
        }
        text
    }

    /// Every difference, one JSON object a line.
    fn list(&self) -> String {
        let line = |(case, difference): &(Case, Difference)| {
            let Difference { class, peer, ours } = difference;
            let line = json!({
                "resource": case.resource, "what": case.what, "method": case.method,
                "path": case.path, "class": class, "peer": peer, "ours": ours,
            });
            format!("{line}\n")
        };
        self.found.iter().map(line).collect()
    }

    fn summary(&self) -> String {
        let mut classes: BTreeMap<&str, usize> = BTreeMap::new();
        for (_, difference) in &self.found {
            *classes.entry(difference.class).or_default() += 1;
        }
        let (sent, found) = (self.sent, self.found.len());
        format!("{sent} requests to each server, {found} answers differ: {classes:?}\n")
    }
}

/// What equal differences have in common: the resource, what was done, and how it differs.
fn signature((case, difference): &(Case, Difference)) -> String {
    let mut words = case.what.split(' ');
    let verb = words.next().unwrap_or_default();
    let place = words.find(|word| word.starts_with('/')).unwrap_or_default();
    let place: String = place.chars().map(|c| if c.is_ascii_digit() { '*' } else { c }).collect();
    let codes = if difference.class == "code" {
        let first = |text: &str| text.chars().take(3).collect::<String>();
        format!(" {} -> {}", first(&difference.peer), first(&difference.ours))
    } else {
        String::new()
    };
    format!("{} {verb} {place} {}{codes}", case.resource, difference.class)
}

fn indented(text: &str) -> String {
    let text: String = text.chars().take(1_500).collect();
    text.replace('\n', "\n        ")
}
