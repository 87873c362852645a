//! The nodes' processes.

use std::{
    fs::OpenOptions,
    io::{self, BufRead, BufReader, Read, Write},
    os::unix::{fs::OpenOptionsExt, process::CommandExt},
    path::{Path, PathBuf},
    process::{Child, ChildStderr, Command, Stdio},
    sync::mpsc::SyncSender,
    thread::JoinHandle,
    time::{Duration, Instant},
};

use super::{DevError, Happening, folder::Folder};

/// How long a node may take to stop before it is killed.
const STOP_WITHIN: Duration = Duration::from_secs(3);
/// Longest log line that is looked at.
const LINE_BYTES: u64 = 64 * 1024;

/// Running nodes; all of them end when this is dropped.
pub(super) struct Cluster {
    nodes: Vec<Child>,
    watches: Vec<JoinHandle<()>>,
}

impl Cluster {
    pub(super) fn start(folder: &Folder, events: &SyncSender<Happening>) -> Result<Self, DevError> {
        let program = std::env::current_exe().map_err(|error| DevError::disk("kvd", &error))?;
        let mut cluster = Self { nodes: Vec::new(), watches: Vec::new() };
        for name in folder.names() {
            cluster.add(&program, folder, &name, events).map_err(|error| DevError::disk(&program, &error))?;
        }
        Ok(cluster)
    }

    /// Closes the pipe of every node, waits, and kills what is still there.
    pub(super) fn stop(&mut self) {
        for node in &mut self.nodes {
            drop(node.stdin.take());
        }
        let deadline = Instant::now() + STOP_WITHIN;
        for node in &mut self.nodes {
            while matches!(node.try_wait(), Ok(None)) && Instant::now() < deadline {
                std::thread::sleep(Duration::from_millis(5));
            }
            // Both fail only when it has ended.
            let _ = node.kill();
            let _ = node.wait();
        }
        self.nodes.clear();
        // Once these have ended nothing more is said about the nodes.
        for watch in self.watches.drain(..) {
            let _ = watch.join();
        }
    }

    fn add(
        &mut self,
        program: &Path,
        folder: &Folder,
        name: &str,
        events: &SyncSender<Happening>,
    ) -> io::Result<()> {
        self.nodes.push(spawn(program, folder, name)?);
        if let Some(lines) = self.nodes.last_mut().and_then(|node| node.stderr.take()) {
            let watch = Watch { node: name.to_owned(), log: folder.log(name), events: events.clone() };
            let named = std::thread::Builder::new().name(format!("watch {name}"));
            self.watches.push(named.spawn(move || watch.run(lines))?);
        }
        Ok(())
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.stop();
    }
}

fn spawn(program: &Path, folder: &Folder, name: &str) -> io::Result<Child> {
    Command::new(program)
        .args(["--log-format", "json", "run", "--until-stdin-closes", "--node", name, "--config"])
        .arg(folder.config_file())
        .env_remove("KVD_LOG")
        // Who supervises this process is not told by its nodes.
        .env_remove("NOTIFY_SOCKET")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        // Ctrl-C is for this process and the command it runs; the nodes go last.
        .process_group(0)
        .spawn()
}

/// Reads what one node says.
struct Watch {
    node: String,
    log: PathBuf,
    events: SyncSender<Happening>,
}

impl Watch {
    fn run(self, lines: ChildStderr) {
        let mut log = OpenOptions::new().create(true).append(true).mode(0o600).open(&self.log).ok();
        let mut last = String::new();
        let mut lines = BufReader::new(lines);
        loop {
            let mut line = Vec::new();
            match lines.by_ref().take(LINE_BYTES).read_until(b'\n', &mut line) {
                Ok(0) | Err(_) => break,
                Ok(_) => {}
            }
            if let Some(log) = &mut log {
                // A log that cannot be written is no reason to stop listening.
                let _ = log.write_all(&line);
            }
            let line = String::from_utf8_lossy(&line);
            last = self.look(line.trim()).unwrap_or(last);
        }
        let _ = self.events.send(Happening::Ended { node: self.node, last });
    }

    /// Reports what matters and gives what a person would read of the line.
    fn look(&self, line: &str) -> Option<String> {
        let Ok(fields) = serde_json::from_str::<serde_json::Value>(line) else {
            return (!line.is_empty()).then(|| line.to_owned());
        };
        let message = fields.get("message")?.as_str()?;
        let happening = match message {
            "ready" => Some(Happening::Ready),
            "became leader" => Some(Happening::Leads(self.node.clone())),
            _ => None,
        };
        if let Some(happening) = happening {
            let _ = self.events.send(happening);
        }
        Some(message.to_owned())
    }
}
