//! `cargo xtask demo`: two regions, one league, without a hand on it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use crate::{guests, run, sample, setup};

const HUB: &str = "league";
const MEMBERS: [(&str, &str, &str); 2] =
    [("eu-west", "eu-west", "eu-west-a"), ("us-east", "us-east", "us-east-a")];
const NAMESPACE: &str = "storefront";
const IMAGE: &str = "hansa.dev/storefront:v1";
/// Most that any single step may take.
const PATIENCE: Duration = Duration::from_secs(180);

/// Arguments of `cargo xtask demo`.
#[derive(clap::Args)]
pub struct Args {
    /// Skip nothing, but use what is built already.
    #[arg(long)]
    fast: bool,
    /// Stop everything that the demo started, and remove its data.
    #[arg(long)]
    down: bool,
}

/// The programs and the kubeconfig that the demo works with.
struct Demo {
    root: PathBuf,
    kubeconfig: PathBuf,
    step: u32,
}

/// Runs the demo, or takes it down.
///
/// # Errors
/// At the first step that does not come out as it should.
pub fn run(root: &Path, args: &Args) -> Result<()> {
    let kubeconfig = kubeconfig()?;
    let mut demo = Demo { root: root.to_path_buf(), kubeconfig, step: 0 };
    if args.down {
        return demo.down();
    }
    let started = Instant::now();
    demo.build(args.fast)?;
    demo.start_clusters()?;
    demo.join()?;
    demo.apply_sample()?;
    demo.ask_services()?;
    demo.explain()?;
    demo.swap_policy()?;
    demo.lose_a_member()?;
    demo.finish(started)
}

/// The user's own kubeconfig, where the contexts of `hansa up` go.
fn kubeconfig() -> Result<PathBuf> {
    if let Some(paths) = std::env::var_os("KUBECONFIG").filter(|value| !value.is_empty()) {
        return std::env::split_paths(&paths).next().context("failed to read KUBECONFIG");
    }
    let home = std::env::var_os("HOME").context("failed to find a home folder: HOME is not set")?;
    Ok(PathBuf::from(home).join(".kube/config"))
}

impl Demo {
    fn title(&mut self, text: &str) {
        self.step += 1;
        println!("\n\x1b[1m{}. {text}\x1b[0m", self.step);
    }

    fn program(&self, name: &str) -> Command {
        let mut command = Command::new(self.root.join("target/release").join(name));
        command.env("KUBECONFIG", &self.kubeconfig);
        command
    }

    fn kubectl(&self, context: &str, words: &[&str]) -> Command {
        let mut command = Command::new("kubectl");
        command.env("KUBECONFIG", &self.kubeconfig).args(["--context", context]).args(words);
        command
    }

    /// Shows the command, runs it, shows what it prints.
    fn show(&self, command: &mut Command) -> Result<String> {
        let name = Path::new(command.get_program()).file_name().unwrap_or_default().to_os_string();
        let words: Vec<_> = command.get_args().map(|word| word.to_string_lossy()).collect();
        println!("\x1b[2m$ {} {}\x1b[0m", name.to_string_lossy(), words.join(" "));
        let text = run::output(command)?;
        print!("{text}");
        Ok(text)
    }

    fn get(&self, context: &str, words: &[&str]) -> Result<Value> {
        let text = run::output(self.kubectl(context, words).args(["-o", "json"]))?;
        serde_json::from_str(&text).context("failed to parse what kubectl printed")
    }

    /// Tries until it holds; the last reason why not is the error.
    fn wait(&self, what: &str, mut check: impl FnMut() -> Result<()>) -> Result<Duration> {
        let started = Instant::now();
        loop {
            match check() {
                Ok(()) => return Ok(started.elapsed()),
                Err(error) if started.elapsed() > PATIENCE => {
                    return Err(error.context(format!("waited {PATIENCE:?} for {what}")));
                }
                Err(_) => std::thread::sleep(Duration::from_millis(200)),
            }
        }
    }

    fn down(&mut self) -> Result<()> {
        for name in [HUB, MEMBERS[0].0, MEMBERS[1].0] {
            let mut down = self.program("hansa");
            down.args(["down", name, "--purge", "--kubeconfig"]).arg(&self.kubeconfig);
            self.show(&mut down)?;
        }
        Ok(())
    }

    fn build(&mut self, fast: bool) -> Result<()> {
        self.title("Install what is missing and build");
        setup::for_demo()?;
        let built = ["hansa", "fedctl", "../guests/storefront.wasm"];
        let there = built.iter().all(|file| self.root.join("target/release").join(file).exists());
        if fast && there {
            println!("built already");
            return Ok(());
        }
        println!("building the guests");
        guests::build_guests(&self.root, &[])?;
        sample::build(&self.root)?;
        println!("building the release profile (minutes, the first time)");
        let words = ["build", "--release", "-p", "hansa", "-p", "hansa-fedctl"];
        run::ok(run::cargo(&self.root).args(words))
    }

    fn start_clusters(&mut self) -> Result<()> {
        self.title("Start the hub and two regional clusters, each its own process");
        let config = self.kubeconfig.display().to_string();
        let mut hub = self.program("hansa");
        self.show(hub.args(["up", HUB, "--hub", "--kubeconfig", &config]))?;
        for (name, region, zone) in MEMBERS {
            let mut member = self.program("hansa");
            let place = ["--region", region, "--zone", zone];
            let words = ["up", name, "--runtime", "wasm", "--nodes", "2"];
            self.show(member.args(words).args(place).args(["--kubeconfig", &config]))?;
        }
        let mut contexts = Command::new("kubectl");
        contexts.env("KUBECONFIG", &self.kubeconfig).args(["config", "get-contexts"]);
        self.show(&mut contexts)?;
        let image = self.root.join("target/guests/storefront.wasm").display().to_string();
        for (name, ..) in MEMBERS {
            let mut import = self.program("hansa");
            self.show(import.args(["image", "import", "--cluster", name, &image, IMAGE]))?;
        }
        Ok(())
    }

    fn join(&mut self) -> Result<()> {
        self.title("Make the hub a federation and join both regions");
        self.fedctl(&["init", "--host-cluster-context", HUB])?;
        for (name, region, zone) in MEMBERS {
            self.fedctl(&[
                "join",
                name,
                "--cluster-context",
                name,
                "--host-cluster-context",
                HUB,
                "--provider",
                "local",
                "--region",
                region,
                "--zone",
                zone,
                "--error-on-existing=false",
            ])?;
        }
        self.wait("both members to be Ready", || {
            for (name, ..) in MEMBERS {
                self.expect_ready(name, "True")?;
                self.expect_counted(name)?;
            }
            Ok(())
        })?;
        self.fedctl(&["get", "clusters", "--host-cluster-context", HUB])?;
        Ok(())
    }

    fn fedctl(&self, words: &[&str]) -> Result<String> {
        self.show(self.program("fedctl").args(words))
    }

    fn expect_ready(&self, cluster: &str, wanted: &str) -> Result<()> {
        let object = self.get(HUB, &["get", "clusters.cluster.karmada.io", cluster])?;
        let conditions = object["status"]["conditions"].as_array().cloned().unwrap_or_default();
        let ready = conditions.iter().find(|condition| condition["type"] == "Ready");
        let status = ready.map(|ready| ready["status"].clone()).unwrap_or_default();
        if status != wanted {
            bail!("cluster {cluster} is Ready={status}, not {wanted}");
        }
        Ok(())
    }

    /// The hub has counted the member's nodes.
    fn expect_counted(&self, cluster: &str) -> Result<()> {
        let object = self.get(HUB, &["get", "clusters.cluster.karmada.io", cluster])?;
        if object["status"]["nodeSummary"].is_null() {
            bail!("the nodes of {cluster} are not counted yet");
        }
        Ok(())
    }

    fn apply_sample(&mut self) -> Result<()> {
        self.title("Apply the storefront on the hub: weights 2:1, one value differs by region");
        // From an earlier run of the demo; the policy that comes with the product decides first.
        let words = ["delete", "plugins.plugins.hansa.dev", "prefer", "--ignore-not-found"];
        run::output(&mut self.kubectl(HUB, &words))?;
        let folder = self.root.join("deploy/samples/storefront").display().to_string();
        self.show(&mut self.kubectl(HUB, &["apply", "-f", &folder]))?;
        let took = self.wait("six ready replicas on the hub", || self.expect_hub_ready(6))?;
        println!("six of six are ready after {took:.1?}");
        self.show(&mut self.kubectl(HUB, &["get", "deployment", "storefront", "-n", NAMESPACE]))?;
        self.expect_spread([4, 2])
    }

    fn expect_hub_ready(&self, wanted: i64) -> Result<()> {
        let deployment = self.get(HUB, &["get", "deployment", "storefront", "-n", NAMESPACE])?;
        let ready = deployment["status"]["readyReplicas"].as_i64().unwrap_or(0);
        if ready != wanted {
            bail!("{ready} of {wanted} replicas are ready");
        }
        Ok(())
    }

    fn running(&self, member: &str) -> Result<i64> {
        let words = ["get", "deployment", "storefront", "-n", NAMESPACE, "--ignore-not-found"];
        let text = run::output(self.kubectl(member, &words).args(["-o", "json"]))?;
        if text.trim().is_empty() {
            return Ok(0);
        }
        let deployment: Value = serde_json::from_str(&text)?;
        Ok(deployment["status"]["readyReplicas"].as_i64().unwrap_or(0))
    }

    fn spread(&self) -> Result<[i64; 2]> {
        Ok([self.running(MEMBERS[0].0)?, self.running(MEMBERS[1].0)?])
    }

    fn expect_spread(&self, wanted: [i64; 2]) -> Result<()> {
        self.wait("the replicas to be where they belong", || {
            let found = self.spread()?;
            if found != wanted {
                bail!("eu-west runs {} and us-east {}, not {wanted:?}", found[0], found[1]);
            }
            Ok(())
        })?;
        println!("eu-west runs {}, us-east runs {}", wanted[0], wanted[1]);
        Ok(())
    }

    fn ask_services(&mut self) -> Result<()> {
        self.title("Ask the Service in each region: several pods answer, each says where it is");
        MEMBERS.iter().try_for_each(|(name, ..)| self.ask_service(name))
    }

    fn ask_service(&self, member: &str) -> Result<()> {
        let service = self.get(member, &["get", "service", "storefront", "-n", NAMESPACE])?;
        let ip = service["spec"]["clusterIP"].as_str().context("the Service has no address")?;
        let port = service["spec"]["ports"][0]["port"].as_i64().unwrap_or(80);
        let url = format!("http://{ip}:{port}/");
        let mut answers = std::collections::BTreeSet::new();
        self.wait("two pods of the region to answer", || {
            for _ in 0..8 {
                answers.insert(run::output(Command::new("curl").args(["-sf", "-m", "5", &url]))?);
            }
            if answers.len() < 2 {
                bail!("{} pods answered at {url}", answers.len());
            }
            Ok(())
        })?;
        println!("\x1b[2m$ curl {url}\x1b[0m");
        for answer in &answers {
            println!("{}", answer.trim());
            if !answer.contains(member) {
                bail!("a pod of {member} does not name its region: {answer}");
            }
        }
        Ok(())
    }

    fn explain(&mut self) -> Result<()> {
        self.title("Where everything runs, and why");
        self.fedctl(&["get", "workloads", "--host-cluster-context", HUB])?;
        self.explain_storefront().map(drop)
    }

    fn explain_storefront(&self) -> Result<String> {
        let hub = ["--host-cluster-context", HUB, "-n", NAMESPACE];
        self.show(self.program("fedctl").args(["explain", "deployment/storefront"]).args(hub))
    }

    fn swap_policy(&mut self) -> Result<()> {
        self.title("Swap the placement policy while everything runs");
        let before = self.spread()?;
        let digest = self.apply_plugin(
            "prefer",
            "federation-prefer-region",
            &json!({
                "prefer": MEMBERS[1].1,
            }),
        )?;
        let took =
            self.wait("the new policy to decide", || self.expect_active("prefer", &digest))?;
        println!("{digest} decides after {took:.1?}; nothing was restarted");
        self.wait("the replicas to move", || {
            let after = self.spread()?;
            if after == before || after.iter().sum::<i64>() != 6 || after[1] <= before[1] {
                bail!("eu-west runs {} and us-east {}", after[0], after[1]);
            }
            Ok(())
        })?;
        let after = self.spread()?;
        println!(
            "moved: eu-west {} -> {}, us-east {} -> {}",
            before[0], after[0], before[1], after[1]
        );
        let explained = self.explain_storefront()?;
        if !explained.contains(&digest[..19]) {
            bail!("the decision does not name {digest}");
        }
        self.refuse_trapping(&digest)
    }

    /// A third version that traps: the second goes on deciding.
    fn refuse_trapping(&self, good: &str) -> Result<()> {
        let bad = self.apply_plugin("prefer", "federation-trapping", &json!({}))?;
        self.wait("the trapping version to be refused or fenced off", || {
            let plugin = self.get(HUB, &["get", "plugins.plugins.hansa.dev", "prefer"])?;
            let condition = &plugin["status"]["conditions"][0];
            let observed =
                plugin["status"]["observedGeneration"] == plugin["metadata"]["generation"];
            if !observed || condition["status"] != "False" {
                // A decision makes a version show itself.
                self.touch_template()?;
                bail!("{bad} is {}", condition["reason"]);
            }
            let text = |key: &str| condition[key].as_str().unwrap_or_default().to_owned();
            println!("{bad}: {} ({})", text("reason"), text("message"));
            Ok(())
        })?;
        self.expect_active("prefer", good)?;
        println!("{good} goes on deciding");
        self.fedctl(&["policy", "list", "--host-cluster-context", HUB]).map(drop)
    }

    /// Lets the federation decide about the storefront once more.
    fn touch_template(&self) -> Result<()> {
        let now = Instant::now().elapsed().as_nanos().to_string();
        let stamp = format!("demo.hansa.dev/decide-again={}{now}", std::process::id());
        let words =
            ["annotate", "--overwrite", "deployment", "storefront", "-n", NAMESPACE, &stamp];
        run::output(&mut self.kubectl(HUB, &words)).map(drop)
    }

    fn apply_plugin(&self, name: &str, guest: &str, config: &Value) -> Result<String> {
        let file = self.root.join("target/guests").join(format!("{guest}.wasm"));
        let bytes =
            fs::read(&file).with_context(|| format!("failed to read {}", file.display()))?;
        let digest = guests::digest_of(&bytes);
        let map = format!("policy-{guest}");
        let from = format!("--from-file=policy.wasm={}", file.display());
        let words =
            ["create", "configmap", &map, "-n", "default", &from, "--dry-run=client", "-o", "json"];
        let object = run::output(&mut self.kubectl(HUB, &words))?;
        self.apply(&object)?;
        let plugin = json!({
            "apiVersion": "plugins.hansa.dev/v1alpha1", "kind": "Plugin",
            "metadata": { "name": name },
            "spec": {
                "world": "federation", "digest": digest, "config": config,
                "source": { "configMap": { "namespace": "default", "name": map, "key": "policy.wasm" } },
            },
        });
        println!("{}", self.apply(&plugin.to_string())?.trim());
        Ok(digest)
    }

    fn apply(&self, object: &str) -> Result<String> {
        let file = std::env::temp_dir().join(format!("hansa-demo-{}.json", std::process::id()));
        fs::write(&file, object)?;
        let path = file.display().to_string();
        let outcome = run::output(&mut self.kubectl(HUB, &["apply", "-f", &path]));
        let _ = fs::remove_file(&file);
        outcome
    }

    fn expect_active(&self, plugin: &str, digest: &str) -> Result<()> {
        let object = self.get(HUB, &["get", "plugins.plugins.hansa.dev", plugin])?;
        let active = &object["status"]["activeDigest"];
        if active != digest {
            bail!("{active} decides, not {digest}");
        }
        Ok(())
    }

    fn lose_a_member(&mut self) -> Result<()> {
        self.title(
            "Kill one member's process: its replicas move; it comes back, nothing runs twice",
        );
        let (victim, region, zone) = MEMBERS[1];
        let status = self.program("hansa").args(["status", victim, "-o", "json"]).output()?;
        let status: Value = serde_json::from_slice(&status.stdout)?;
        let pid = status["pid"].as_u64().context("failed to find the member's process")?;
        self.show(Command::new("kill").args(["-KILL", &pid.to_string()]))?;
        let took = self.wait("the hub to notice", || {
            self.expect_ready(victim, "False").or_else(|_| self.expect_ready(victim, "Unknown"))
        })?;
        println!("the hub shows {victim} NotReady after {took:.1?}");
        let took = self.wait("all six to run in eu-west", || {
            let running = self.running(MEMBERS[0].0)?;
            if running != 6 {
                bail!("eu-west runs {running}");
            }
            Ok(())
        })?;
        println!("all six run in {} after another {took:.1?}", MEMBERS[0].0);
        self.fedctl(&["get", "clusters", "--host-cluster-context", HUB])?;
        let config = self.kubeconfig.display().to_string();
        let words = ["up", victim, "--region", region, "--zone", zone, "--kubeconfig", &config];
        self.show(self.program("hansa").args(words))?;
        self.wait("the member to be Ready again", || self.expect_ready(victim, "True"))?;
        self.wait("six replicas in the league, none twice", || {
            let found = self.spread()?;
            if found.iter().sum::<i64>() != 6 {
                bail!("eu-west runs {} and us-east {}", found[0], found[1]);
            }
            self.expect_hub_ready(6)
        })?;
        let found = self.spread()?;
        println!("{victim} is back: eu-west runs {}, us-east runs {}", found[0], found[1]);
        Ok(())
    }

    fn finish(&mut self, started: Instant) -> Result<()> {
        self.title("Everything runs");
        self.show(self.program("hansa").arg("list"))?;
        self.fedctl(&["get", "workloads", "--host-cluster-context", HUB])?;
        println!("\nThe demo took {:.0?}. Look around:", started.elapsed());
        for line in [
            "kubectl --context league get clusters,propagationpolicies,resourcebindings -A",
            "kubectl --context eu-west get pods -A -o wide",
            "target/release/fedctl explain deployment/storefront -n storefront --host-cluster-context league",
            "target/release/hansa status us-east",
        ] {
            println!("  {line}");
        }
        println!("Stop and remove everything:\n  cargo xtask demo --down");
        Ok(())
    }
}
