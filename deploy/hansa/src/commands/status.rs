//! `hansa status`: one cluster's process, server and components.

use std::process::ExitCode;

use anyhow::Result;
use serde::Serialize;

use crate::cli::Which;
use crate::instance::{Instance, Settings, State};
use crate::output::{Output, print_table};

/// Arguments of `hansa status`.
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    which: Which,
    #[arg(short, long, value_enum, default_value_t)]
    output: Output,
}

/// What `hansa status -o json` prints.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    name: String,
    status: &'static str,
    pid: Option<u32>,
    server: String,
    kubeconfig: String,
    data_dir: String,
    settings: Settings,
    components: std::collections::BTreeMap<String, serde_json::Value>,
}

/// Prints the status; exit status 1 if the cluster does not run.
pub fn run(args: &Args) -> Result<ExitCode> {
    let instance = Instance::of(&args.which)?;
    let report = Report::of(&instance, instance.existing()?);
    args.output.print(&report, || report.print())?;
    Ok(if report.pid.is_some() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

impl Report {
    /// The report of a cluster.
    pub fn of(instance: &Instance, settings: Settings) -> Self {
        let state = instance.state();
        Self {
            name: instance.name.clone(),
            status: status_of(state.as_ref()),
            pid: state.as_ref().map(|state| state.pid),
            server: settings.server(),
            kubeconfig: instance.kubeconfig().display().to_string(),
            data_dir: instance.dir.display().to_string(),
            settings,
            components: state.map(|state| state.components).unwrap_or_default(),
        }
    }

    /// A row of `hansa list`.
    pub fn row(&self) -> Vec<String> {
        let role = if self.settings.hub { "hub" } else { "member" };
        let pid = self.pid.map_or("-".into(), |pid| pid.to_string());
        let (region, zone) = (self.settings.region.clone(), self.settings.zone.clone());
        let nodes = self.settings.node_names().len().to_string();
        let status = self.status.to_owned();
        vec![self.name.clone(), status, role.into(), region, zone, nodes, pid, self.server.clone()]
    }

    fn print(&self) {
        println!("name:        {}", self.name);
        println!("status:      {}", self.status);
        println!("pid:         {}", self.pid.map_or("-".into(), |pid| pid.to_string()));
        println!("server:      {}", self.server);
        println!("kubeconfig:  {}", self.kubeconfig);
        println!("data-dir:    {}", self.data_dir);
        if self.components.is_empty() {
            return;
        }
        println!();
        let text = |state: &serde_json::Value, key: &str| {
            let value = state.get(key);
            let text = value.and_then(serde_json::Value::as_str).map(str::to_owned);
            text.or(value.map(ToString::to_string)).unwrap_or_default()
        };
        let rows = self.components.iter().map(|(name, state)| {
            let error = text(state, "lastError");
            vec![name.clone(), text(state, "health"), text(state, "restarts"), error]
        });
        print_table(&["COMPONENT", "HEALTH", "RESTARTS", "LAST ERROR"], rows.collect());
    }
}

fn status_of(state: Option<&State>) -> &'static str {
    match state {
        None => "Stopped",
        Some(state) if state.ready => "Running",
        Some(_) => "Starting",
    }
}
