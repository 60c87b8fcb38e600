//! `hansa image`: images of the embedded runtime, which are WASI components under a reference.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};

use hansa_runtime::images::ImageStore;

use crate::instance::Instance;
use crate::output::{Output, print_table};

/// Arguments of `hansa image`.
#[derive(clap::Args)]
pub struct Args {
    /// The cluster whose nodes are meant.
    #[arg(long, default_value = "hansa", global = true)]
    cluster: String,
    /// Where the cluster's data lies.
    #[arg(long, env = "HANSA_DATA_DIR", global = true)]
    data_dir: Option<PathBuf>,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(clap::Subcommand)]
enum Verb {
    /// Put a component under a reference, on every node of the cluster.
    Import {
        /// The component's file.
        file: PathBuf,
        /// The reference that pods name, such as hansa.dev/storefront:v1.
        reference: String,
    },
    /// List the images.
    List {
        #[arg(short, long, value_enum, default_value_t)]
        output: Output,
    },
    /// Remove an image from every node.
    Rm {
        /// The reference.
        reference: String,
    },
}

/// Does what was asked, on every node with the embedded runtime.
pub fn run(args: Args) -> Result<ExitCode> {
    let which = crate::cli::Which { name: args.cluster, data_dir: args.data_dir };
    let instance = Instance::of(&which)?;
    let settings = instance.existing()?;
    if settings.runtime != "wasm" {
        bail!(
            "cluster {} runs its pods on {}: import images with that runtime's own tools",
            instance.name,
            settings.runtime
        );
    }
    let stores = settings.node_names().into_iter().map(|node| {
        let root = instance.node_dir(&node).join("runtime");
        (node, root)
    });
    match args.verb {
        Verb::Import { file, reference } => import(stores, &file, &reference),
        Verb::List { output } => list(stores, output),
        Verb::Rm { reference } => remove(stores, &reference),
    }
}

fn import(
    stores: impl Iterator<Item = (String, PathBuf)>,
    file: &std::path::Path,
    reference: &str,
) -> Result<ExitCode> {
    let bytes =
        std::fs::read(file).with_context(|| format!("failed to read {}", file.display()))?;
    for (node, root) in stores {
        ImageStore::new(&root)
            .import(reference, &bytes)
            .with_context(|| format!("failed to import into node {node}"))?;
        println!("{reference} imported on node {node}");
    }
    Ok(ExitCode::SUCCESS)
}

fn list(stores: impl Iterator<Item = (String, PathBuf)>, output: Output) -> Result<ExitCode> {
    let mut rows = Vec::new();
    for (node, root) in stores {
        for image in ImageStore::new(&root).list()? {
            rows.push(vec![node.clone(), image.reference, image.digest, image.size.to_string()]);
        }
    }
    output.print(&rows, || print_table(&["NODE", "IMAGE", "DIGEST", "BYTES"], rows.clone()))?;
    Ok(ExitCode::SUCCESS)
}

fn remove(stores: impl Iterator<Item = (String, PathBuf)>, reference: &str) -> Result<ExitCode> {
    for (node, root) in stores {
        ImageStore::new(&root)
            .remove(reference)
            .with_context(|| format!("failed to remove from node {node}"))?;
        println!("{reference} removed from node {node}");
    }
    Ok(ExitCode::SUCCESS)
}
