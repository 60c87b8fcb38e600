//! `fedctl version`.

use anyhow::Result;
use serde_json::json;

use crate::cli::Host;
use crate::output::say;
use crate::output::{self, Format};

/// Options of `version`.
#[derive(clap::Args)]
pub struct Options {
    /// Only this program's version.
    #[arg(long)]
    client: bool,
    /// How to print.
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
}

/// Runs the command. The hub's version is left out if it does not answer.
pub async fn run(host: &Host, options: Options) -> Result<()> {
    let mine = env!("CARGO_PKG_VERSION");
    let hub = if options.client { None } else { hub_version(host).await };
    if matches!(options.output, Format::Json | Format::Yaml) {
        return output::document(options.output, &json!({"client": mine, "hub": hub}));
    }
    say!("fedctl {mine}");
    if let Some(hub) = hub {
        say!("hub {hub}");
    }
    Ok(())
}

async fn hub_version(host: &Host) -> Option<String> {
    let client = host.client().await.ok()?;
    Some(client.apiserver_version().await.ok()?.git_version)
}
