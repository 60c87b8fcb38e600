//! A command in the background whose lines are read as they come.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;

use crate::wait::soon;

/// The lines that a running command printed so far. The command ends with this value.
pub struct Lines {
    child: Child,
    lines: Arc<Mutex<Vec<String>>>,
}

impl Lines {
    pub(crate) fn of(command: &mut Command) -> Self {
        let command = command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the command runs");
        let lines = Arc::new(Mutex::new(Vec::new()));
        let stdout = child.stdout.take().expect("it is piped");
        let stderr = child.stderr.take().expect("it is piped");
        collect(stdout, lines.clone());
        collect(stderr, lines.clone());
        Self { child, lines }
    }

    /// Everything printed so far.
    pub fn so_far(&self) -> Vec<String> {
        self.lines.lock().expect("readers do not panic").clone()
    }

    /// Waits for a line that contains a text.
    ///
    /// # Panics
    /// If it does not come.
    pub fn wait_for(&self, text: &str) {
        soon(&format!("a line with {text:?} is printed"), || {
            self.so_far().iter().any(|line| line.contains(text))
        });
    }
}

fn collect(from: impl std::io::Read + Send + 'static, lines: Arc<Mutex<Vec<String>>>) {
    thread::spawn(move || {
        for line in BufReader::new(from).lines().map_while(Result::ok) {
            lines.lock().expect("readers do not panic").push(line);
        }
    });
}

impl Drop for Lines {
    fn drop(&mut self) {
        // `timeout` passes TERM on to what it runs; KILL would leave that behind.
        let _ = Command::new("kill").arg(self.child.id().to_string()).status();
        let _ = self.child.wait();
    }
}
