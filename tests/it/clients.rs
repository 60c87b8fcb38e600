//! Other people's clients, unmodified: PyPI's `kubernetes` and npm's `@kubernetes/client-node`.
//! (`kubectl` and kube-rs are what the other tests are written with.)

use std::path::{Path, PathBuf};
use std::process::Command;

use hansa_tests::hollow;

fn scripts() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("clients")
}

/// A folder for what a client needs, kept from run to run.
fn workshop(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/clients").join(name);
    std::fs::create_dir_all(&folder).expect("the folder can be made");
    folder
}

/// Runs to its end, within bounds; what it printed is the reason if it fails.
fn run(program: &Path, args: &[&str], folder: &Path) {
    let mut command = Command::new("timeout");
    command.args(["--kill-after=5", "240"]).arg(program).args(args).current_dir(folder);
    command.env("KUBECONFIG", hollow().kubeconfig());
    let output = command.output().expect("it starts");
    let text = [output.stdout, output.stderr].map(|b| String::from_utf8_lossy(&b).into_owned());
    assert!(output.status.success(), "{} {args:?}: {}", program.display(), text.join("\n"));
}

#[test]
fn a_program_in_python() {
    let folder = workshop("python");
    let python = folder.join("bin/python");
    if !python.exists() {
        run(Path::new("python3"), &["-m", "venv", "."], &folder);
    }
    let requirements = scripts().join("requirements.txt").display().to_string();
    run(&python, &["-m", "pip", "install", "--quiet", "--requirement", &requirements], &folder);
    run(&python, &[&scripts().join("python.py").display().to_string(), "python"], &folder);
}

#[test]
fn a_program_in_javascript() {
    let folder = workshop("javascript");
    for file in ["package.json", "javascript.mjs"] {
        std::fs::copy(scripts().join(file), folder.join(file)).expect("it can be copied");
    }
    run(Path::new("npm"), &["install", "--silent", "--no-audit", "--no-fund"], &folder);
    run(Path::new("node"), &["javascript.mjs", "javascript"], &folder);
}
