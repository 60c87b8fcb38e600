//! `hansa up`: starts a local cluster and returns when it is ready.

use std::fs::File;
use std::io::{IsTerminal, Read, Seek, SeekFrom, Write};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use hansa_bootstrap::kubeconfig;

use crate::cli::Which;
use crate::cluster;
use crate::instance::{Instance, Settings};
use crate::network::{self, Network};

/// Arguments of `hansa up`. What is not given stays as the cluster was made.
#[derive(clap::Args, Debug)]
pub struct Args {
    #[command(flatten)]
    which: Which,
    /// A federation hub: no nodes and no workload controllers; the federation manager runs in it.
    #[arg(long)]
    hub: bool,
    /// Region label of the nodes [default: local].
    #[arg(long, env = "HANSA_REGION")]
    region: Option<String>,
    /// Zone label of the nodes [default: REGION-a].
    #[arg(long, env = "HANSA_ZONE")]
    zone: Option<String>,
    /// Cloud provider [default: local].
    #[arg(long, env = "HANSA_PROVIDER")]
    provider: Option<String>,
    /// Number of nodes [default: 1].
    #[arg(long, env = "HANSA_NODES")]
    nodes: Option<u16>,
    /// Container runtime [default: auto].
    #[arg(long, value_enum, env = "HANSA_RUNTIME")]
    runtime: Option<Runtime>,
    /// Socket of a CRI runtime, such as unix:///run/containerd/containerd.sock.
    #[arg(long, env = "HANSA_CRI_ENDPOINT")]
    cri_endpoint: Option<String>,
    /// etcd's endpoints; without them the embedded store is used.
    #[arg(long, value_delimiter = ',', env = "HANSA_ETCD_SERVERS")]
    etcd_servers: Vec<String>,
    /// Port of the API server [default: 6443 if free, else a free one].
    #[arg(long, env = "HANSA_API_PORT")]
    api_port: Option<u16>,
    /// The kubeconfig that the context is merged into [default: $KUBECONFIG or ~/.kube/config].
    #[arg(long)]
    kubeconfig: Option<PathBuf>,
    /// Run in this process, until it is stopped.
    #[arg(long)]
    foreground: bool,
    /// How long to wait until the cluster is ready, in seconds.
    #[arg(long, default_value_t = 120)]
    wait_secs: u64,
}

/// Which container runtime the nodes use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Runtime {
    /// containerd if its socket answers and we are root, else wasm.
    Auto,
    /// containerd over its socket.
    Containerd,
    /// CRI-O over its socket.
    Crio,
    /// The embedded runtime of WASI components.
    Wasm,
    /// Pods that only pretend.
    Hollow,
}

const CONTAINERD: &str = "/run/containerd/containerd.sock";
const CRIO: &str = "/run/crio/crio.sock";

/// Starts the cluster, or says that it runs.
pub fn run(args: Args) -> Result<ExitCode> {
    let instance = Instance::of(&args.which)?;
    let stored = instance.settings()?;
    if args.foreground {
        let settings = settings(&args, &instance.name, stored)?;
        instance.create()?;
        return cluster::run(instance, settings).map(|()| ExitCode::SUCCESS);
    }
    if instance.is_running() {
        refuse_changes(&args, &instance, stored)?;
    } else {
        // What cannot work is said here, not in a log.
        settings(&args, &instance.name, stored)?;
        instance.create()?;
        instance.clear_state()?;
        let child = spawn(&args, &instance)?;
        wait(&instance, Some(child), Duration::from_secs(args.wait_secs))?;
    }
    wait(&instance, None, Duration::from_secs(args.wait_secs))?;
    let path = merge_context(&instance, args.kubeconfig)?;
    let settings = instance.existing()?;
    println!("cluster {} is ready at {}", instance.name, settings.server());
    println!("context {:?} is selected in {}", instance.name, path.display());
    Ok(ExitCode::SUCCESS)
}

/// Removes the cluster's context from the user's kubeconfig.
pub fn forget_context(instance: &Instance, path: Option<PathBuf>) -> Result<()> {
    let Some(path) = path.or_else(user_kubeconfig) else { return Ok(()) };
    kubeconfig::remove_from(&path, &instance.name).context("failed to remove the context")?;
    Ok(())
}

/// The settings to start with: those given, else those stored, else the defaults.
fn settings(args: &Args, name: &str, stored: Option<Settings>) -> Result<Settings> {
    let known = stored.is_some();
    let mut settings = match stored {
        Some(stored) => stored,
        None => new_settings(args, name)?,
    };
    if known && args.hub != settings.hub && args.hub {
        bail!("cluster {name} is no hub and cannot become one: remove it with --purge first");
    }
    let set = |value: &Option<String>, field: &mut String| {
        if let Some(value) = value {
            field.clone_from(value);
        }
    };
    set(&args.region, &mut settings.region);
    set(&args.zone, &mut settings.zone);
    set(&args.provider, &mut settings.provider);
    settings.nodes = args.nodes.unwrap_or(settings.nodes);
    settings.api_port = args.api_port.unwrap_or(settings.api_port);
    if args.runtime.is_some() || args.cri_endpoint.is_some() {
        choose_runtime(args, &mut settings);
    }
    if !args.etcd_servers.is_empty() {
        settings.etcd_servers.clone_from(&args.etcd_servers);
    }
    Ok(settings)
}

fn new_settings(args: &Args, name: &str) -> Result<Settings> {
    let region = args.region.clone().unwrap_or_else(|| "local".into());
    let mut settings = Settings {
        name: name.into(),
        hub: args.hub,
        zone: format!("{region}-a"),
        region,
        provider: "local".into(),
        nodes: 1,
        runtime: String::new(),
        cri_endpoint: None,
        etcd_servers: Vec::new(),
        api_port: network::free_port(args.api_port.unwrap_or(6443))
            .context("failed to find a free port")?,
        network: UNASSIGNED,
    };
    choose_runtime(args, &mut settings);
    Ok(settings)
}

/// A cluster that has no range yet gets one when it starts.
const UNASSIGNED: u8 = u8::MAX;

/// The stored networks of this user's other clusters, and this one's own, if it has one.
pub fn networks(settings: &Settings) -> Result<(Option<Network>, Vec<Network>)> {
    let mut others = Vec::new();
    for instance in Instance::all()? {
        let stored = instance.settings()?.filter(|_| instance.name != settings.name);
        others.extend(stored.and_then(|stored| stored.addresses().ok()));
    }
    Ok((Network::from_index(settings.network), others))
}

fn choose_runtime(args: &Args, settings: &mut Settings) {
    let runtime = args.runtime.unwrap_or(Runtime::Auto);
    let containerd_serves = || {
        nix::unistd::geteuid().is_root()
            && std::os::unix::net::UnixStream::connect(CONTAINERD).is_ok()
    };
    let (name, socket) = match runtime {
        Runtime::Auto if containerd_serves() => ("containerd", Some(CONTAINERD)),
        Runtime::Auto | Runtime::Wasm => ("wasm", None),
        Runtime::Containerd => ("containerd", Some(CONTAINERD)),
        Runtime::Crio => ("crio", Some(CRIO)),
        Runtime::Hollow => ("hollow", None),
    };
    settings.runtime = name.into();
    settings.cri_endpoint =
        args.cri_endpoint.clone().or(socket.map(|socket| format!("unix://{socket}")));
}

/// A running cluster is not changed under its feet.
fn refuse_changes(args: &Args, instance: &Instance, stored: Option<Settings>) -> Result<()> {
    let current = stored.clone().context("failed to read the running cluster's settings")?;
    if settings(args, &instance.name, stored)? != current {
        bail!(
            "cluster {name} runs with other settings: stop it first (hansa down {name})",
            name = instance.name
        );
    }
    println!("cluster {} runs already", instance.name);
    Ok(())
}

/// Starts this program again, in the background, with the same arguments.
fn spawn(args: &Args, instance: &Instance) -> Result<Child> {
    let log = File::options().create(true).append(true).open(instance.log())?;
    let program = std::env::current_exe().context("failed to find this program")?;
    let mut command = Command::new(program);
    command.args(std::env::args_os().skip(1)).arg("--foreground");
    command.env("HANSA_DATA_DIR", &instance.dir).current_dir("/");
    tracing::debug!(?args, "starting in the background");
    command
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .process_group(0)
        .spawn()
        .context("failed to start the cluster's process")
}

/// Waits until the cluster is ready, showing what it waits for.
fn wait(instance: &Instance, mut child: Option<Child>, most: Duration) -> Result<()> {
    let started = Instant::now();
    let interactive = std::io::stderr().is_terminal();
    let mut shown = String::new();
    loop {
        let state = instance.state();
        if state.as_ref().is_some_and(|state| state.ready) {
            clear(interactive && !shown.is_empty());
            return Ok(());
        }
        if let Some(status) = child.as_mut().map(Child::try_wait).transpose()?.flatten() {
            clear(interactive);
            bail!("the cluster's process ended ({status}):\n{}", tail(instance));
        }
        let waiting = state.map(|state| state.waiting_for).unwrap_or_default();
        if started.elapsed() > most {
            clear(interactive);
            bail!("cluster {} is not ready after {most:?}: waiting for {waiting}", instance.name);
        }
        if interactive && waiting != shown {
            eprint!("\r\x1b[Kstarting {}: waiting for {waiting}", instance.name);
            shown = waiting;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn clear(interactive: bool) {
    if interactive {
        eprint!("\r\x1b[K");
        let _ = std::io::stderr().flush();
    }
}

/// The end of the log.
fn tail(instance: &Instance) -> String {
    let read = || -> std::io::Result<String> {
        let mut file = File::open(instance.log())?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(4096)))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    };
    let text = read().unwrap_or_default();
    let lines: Vec<_> = text.lines().collect();
    lines[lines.len().saturating_sub(10)..].join("\n")
}

fn user_kubeconfig() -> Option<PathBuf> {
    let variable = std::env::var("KUBECONFIG").ok();
    let home = std::env::var_os("HOME").map(PathBuf::from)?;
    Some(kubeconfig::default_path(variable.as_deref(), &home))
}

fn merge_context(instance: &Instance, path: Option<PathBuf>) -> Result<PathBuf> {
    let path =
        path.or_else(user_kubeconfig).context("failed to find a kubeconfig: give --kubeconfig")?;
    let entry = cluster::admin_entry(instance, &instance.existing()?)?;
    entry.merge_into(&path, true).context("failed to merge the context")?;
    Ok(path)
}
