//! Unmodified kubectl of two versions.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Once;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::stream::Lines;

/// The longest that one command may take, in seconds.
pub(crate) const LIMIT_SECS: &str = "240";

/// A version of kubectl that must work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// 1.33.
    V1_33,
    /// 1.27.
    V1_27,
}

/// What a command answered.
#[derive(Clone, Debug)]
pub struct Output {
    /// It exited with 0.
    pub success: bool,
    /// What it exited with; `None` if a signal ended it.
    pub code: Option<i32>,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

/// kubectl on one cluster and in one namespace.
#[derive(Clone, Debug)]
pub struct Kubectl {
    program: PathBuf,
    kubeconfig: PathBuf,
    home: PathBuf,
    /// The namespace that every command works in.
    pub namespace: String,
    /// Which kubectl it is.
    pub version: Version,
}

impl Version {
    /// `v133`, for names.
    pub fn suffix(self) -> &'static str {
        match self {
            Self::V1_33 => "v133",
            Self::V1_27 => "v127",
        }
    }

    fn file(self) -> &'static str {
        match self {
            Self::V1_33 => "kubectl.1.33",
            Self::V1_27 => "kubectl.1.27",
        }
    }

    /// The binary beside the installed kubectl, else the installed one, whatever its version.
    fn program(self) -> PathBuf {
        static SAID: Once = Once::new();
        let installed = which("kubectl").expect("kubectl is installed: run `cargo xtask setup`");
        let resolved = installed.canonicalize().unwrap_or_else(|_| installed.clone());
        match resolved.parent().map(|folder| folder.join(self.file())) {
            Some(versioned) if versioned.exists() => versioned,
            _ => {
                SAID.call_once(|| {
                    eprintln!("no {} beside {}: using that", self.file(), resolved.display());
                });
                installed
            }
        }
    }
}

impl Kubectl {
    pub(crate) fn new(version: Version, kubeconfig: PathBuf, home: &Path, namespace: &str) -> Self {
        Self {
            program: version.program(),
            kubeconfig,
            home: home.to_path_buf(),
            namespace: namespace.to_owned(),
            version,
        }
    }

    /// Runs a command to its end.
    pub fn run(&self, args: &[&str]) -> Output {
        output(self.command(args).stdin(Stdio::null()))
    }

    /// Runs a command that must succeed; answers its standard output.
    ///
    /// # Panics
    /// If it fails.
    pub fn ok(&self, args: &[&str]) -> String {
        let output = self.run(args);
        assert!(output.success, "{:?} kubectl {args:?} failed: {output:#?}", self.version);
        output.stdout
    }

    /// Runs a command that must fail; answers its standard error.
    ///
    /// # Panics
    /// If it succeeds.
    pub fn fails(&self, args: &[&str]) -> String {
        let output = self.run(args);
        assert!(!output.success, "{:?} kubectl {args:?} succeeded: {output:#?}", self.version);
        output.stderr
    }

    /// Runs a command with `-f` and a file of this content.
    pub fn with(&self, args: &[&str], manifest: &str) -> Output {
        let path = self.write("yaml", manifest);
        let path = path.to_string_lossy();
        self.run(&[args, &["-f", &path]].concat())
    }

    /// Client-side apply, which must succeed.
    ///
    /// # Panics
    /// If it fails.
    pub fn apply(&self, manifest: &str) -> String {
        let output = self.with(&["apply"], manifest);
        assert!(output.success, "{:?} kubectl apply failed: {output:#?}", self.version);
        output.stdout
    }

    /// The value of a JSONPath on one object or list.
    ///
    /// # Panics
    /// If the command fails.
    pub fn path(&self, what: &[&str], path: &str) -> String {
        let path = format!("jsonpath={path}");
        self.ok(&[&["get"], what, &["-o", &path]].concat())
    }

    /// Runs a command in the background and reads its lines.
    pub fn stream(&self, args: &[&str]) -> Lines {
        Lines::of(self.command(args).stdin(Stdio::null()))
    }

    /// Runs a command to its end with this standard input.
    pub fn with_stdin(&self, args: &[&str], input: &str) -> Output {
        let file = File::open(self.write("stdin", input)).expect("it was just written");
        output(self.command(args).stdin(file))
    }

    /// Runs a command to its end in a terminal of its own.
    pub fn in_terminal(&self, args: &[&str]) -> Output {
        let command = self.command(args);
        let words = std::iter::once(command.get_program()).chain(command.get_args());
        let words: Vec<_> = words.map(|word| quoted(&word.to_string_lossy())).collect();
        let mut script = Command::new("script");
        script.args(["--quiet", "--return", "--command", &words.join(" "), "/dev/null"]);
        for (name, value) in command.get_envs() {
            script.env(name, value.unwrap_or_default());
        }
        output(script.stdin(Stdio::null()))
    }

    /// Runs a command with these environment variables.
    pub fn with_env(&self, args: &[&str], variables: &[(&str, &str)]) -> Output {
        let mut command = self.command(args);
        output(command.envs(variables.iter().copied()).stdin(Stdio::null()))
    }

    /// Writes a file that only this kubectl knows of; answers its path.
    pub fn write(&self, ending: &str, content: &str) -> PathBuf {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        crate::process::write(&self.home, &format!("{}-{count}.{ending}", self.namespace), content)
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new("timeout");
        // In a process group of its own, a terminal would stop kubectl at its first read.
        command.args(["--foreground", "--kill-after=5", LIMIT_SECS]).arg(&self.program);
        command.args(["--namespace", &self.namespace]).args(args);
        command.env("KUBECONFIG", &self.kubeconfig).env("HOME", &self.home);
        command.env_remove("KUBECTL_EXTERNAL_DIFF").env("TERM", "dumb");
        command
    }
}

/// Runs a command to its end.
pub(crate) fn output(command: &mut Command) -> Output {
    let output = command.output().expect("timeout and what it runs are there");
    Output {
        success: output.status.success(),
        code: output.status.code(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// A word as a shell takes it literally.
fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

fn which(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(program)).find(|file| file.is_file())
}
