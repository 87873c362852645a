//! A cluster of real `kvd` processes on loopback, to be killed and restarted at will, and to be cut off one another
//! where a [`Proxy`] stands between them.
//!
//! Ports lie outside the kernel's ephemeral range and were free when asked for: a node that is down for a moment
//! must find its port again, which a passing client's socket could take from the ephemeral range.

use std::{
    fmt::Write as _,
    fs::{self, File},
    net::{SocketAddr, UdpSocket},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU16, Ordering::Relaxed},
    time::{Duration, Instant},
};

use crate::proxy::Proxy;

/// Real processes under one configuration. Dropping it kills them all and removes their files.
pub struct Cluster {
    program: PathBuf,
    folder: tempfile::TempDir,
    nodes: Vec<Node>,
    proxy: Option<Proxy>,
}

struct Node {
    address: String,
    /// Its configuration: the founders' own, or one that lists them and itself.
    config: PathBuf,
    process: Option<Child>,
}

impl Cluster {
    /// `size` nodes named `n1`, `n2`, … with ids from 1, configured and started.
    ///
    /// # Panics
    /// When a process cannot be started; this is for tests.
    pub fn start(program: impl Into<PathBuf>, size: usize) -> Self {
        Self::start_with(program, size, "")
    }

    /// The same with more tables in the configuration.
    ///
    /// # Panics
    /// When a process cannot be started.
    pub fn start_with(program: impl Into<PathBuf>, size: usize, tables: &str) -> Self {
        let addresses = (0..size).map(|_| format!("127.0.0.1:{}", free_port()));
        let addresses = addresses.map(|address| (address.clone(), address)).collect();
        Self::configured(program.into(), addresses, None, tables)
    }

    /// A new cluster whose servers are restored from a backup before their first start, with more arguments for that.
    ///
    /// # Panics
    /// When a server cannot be restored or a process cannot be started.
    pub fn restored(program: impl Into<PathBuf>, size: usize, backup: &Path, arguments: &[&str]) -> Self {
        let addresses = (0..size).map(|_| format!("127.0.0.1:{}", free_port()));
        let addresses = addresses.map(|address| (address.clone(), address)).collect();
        let mut cluster = Self::laid_out(program.into(), addresses, None, "");
        for id in 1..=size {
            let restored = Command::new(&cluster.program)
                .arg("restore")
                .arg(backup)
                .args(["--node", &format!("n{id}"), "--config"])
                .arg(cluster.folder.path().join("kvd.toml"))
                .args(arguments)
                .output()
                .expect("kvd can be started");
            assert!(restored.status.success(), "node {id}: {restored:?}");
        }
        cluster.revive();
        cluster
    }

    /// The same behind a proxy, which has a wire for each directed pair of them and of clients; its chances come from
    /// the seed.
    ///
    /// # Panics
    /// When a process or the proxy cannot be started.
    pub fn behind_proxy(program: impl Into<PathBuf>, size: usize, seed: u64) -> Self {
        let listen: Vec<_> = (0..size).map(|_| SocketAddr::from(([127, 0, 0, 1], free_port()))).collect();
        let proxy = Proxy::start(seed, &listen, free_port).expect("the proxy can be started");
        let addresses =
            listen.iter().zip(1..).map(|(listen, id)| (proxy.front(id).to_string(), listen.to_string()));
        Self::configured(program.into(), addresses.collect(), Some(proxy), "")
    }

    /// Nodes that advertise the first of each two addresses and listen on the second.
    fn configured(
        program: PathBuf,
        addresses: Vec<(String, String)>,
        proxy: Option<Proxy>,
        tables: &str,
    ) -> Self {
        let mut cluster = Self::laid_out(program, addresses, proxy, tables);
        cluster.revive();
        cluster
    }

    /// The same before any of them runs.
    fn laid_out(
        program: PathBuf,
        addresses: Vec<(String, String)>,
        proxy: Option<Proxy>,
        tables: &str,
    ) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mut config = format!("[cluster]\nname = \"test\"\n{tables}");
        for ((address, listen), id) in addresses.iter().zip(1..) {
            let _ =
                write!(config, "\n[[server]]\nid = {id}\naddress = \"{address}\"\nlisten = \"{listen}\"\n");
        }
        let file = folder.path().join("kvd.toml");
        fs::write(&file, config).expect("the configuration can be written");
        let node = |(address, _)| Node { address, config: file.clone(), process: None };
        let nodes = addresses.into_iter().map(node).collect();
        Self { program, folder, nodes, proxy }
    }

    /// Starts one more server, which nobody knows yet and whose configuration lists the founders and itself; gives its id.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn join(&mut self) -> usize {
        let (id, address) = (self.nodes.len() + 1, format!("127.0.0.1:{}", free_port()));
        let founders = fs::read_to_string(self.folder.path().join("kvd.toml")).expect("the founders' own");
        let config = self.folder.path().join(format!("kvd-{id}.toml"));
        let own = format!("\n[[server]]\nid = {id}\naddress = \"{address}\"\njoins = true\n");
        fs::write(&config, founders + &own).expect("the configuration can be written");
        self.nodes.push(Node { address, config, process: None });
        self.spawn(id, "join");
        id
    }

    /// Starts node `id`, which is down.
    ///
    /// # Panics
    /// When it runs already or cannot be started.
    pub fn restart(&mut self, id: usize) {
        self.spawn(id, "run");
    }

    fn spawn(&mut self, id: usize, purpose: &str) {
        let log = File::options().create(true).append(true).open(self.log_of(id)).expect("a log file");
        let node = &mut self.nodes[id - 1];
        assert!(node.process.is_none(), "node {id} runs already");
        let process = Command::new(&self.program)
            .args([purpose, "--node", &format!("n{id}"), "--config"])
            .arg(&node.config)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("kvd can be started");
        node.process = Some(process);
    }

    /// Removes the data of node `id`, which is down.
    ///
    /// # Panics
    /// When it runs or they cannot be removed.
    pub fn wipe(&self, id: usize) {
        assert!(self.nodes[id - 1].process.is_none(), "node {id} runs");
        fs::remove_dir_all(self.data(id)).expect("its data can be removed");
    }

    /// Where the data of node `id` are.
    pub fn data(&self, id: usize) -> PathBuf {
        self.folder.path().join("kv-data").join(format!("n{id}"))
    }

    /// Starts every node that is down.
    pub fn revive(&mut self) {
        for id in self.down() {
            self.restart(id);
        }
    }

    /// Kills node `id` with no chance to do anything more, as `kill -9` does. What it wrote stays, synced or not.
    ///
    /// # Panics
    /// When it is down.
    pub fn kill(&mut self, id: usize) {
        self.kill_all(&[id]);
    }

    /// Kills all these nodes before it waits for the end of any.
    ///
    /// # Panics
    /// When one is down.
    pub fn kill_all(&mut self, ids: &[usize]) {
        for id in ids {
            let process = self.nodes[id - 1].process.as_mut().expect("the node runs");
            process.kill().expect("it can be killed");
        }
        for id in ids {
            let mut process = self.nodes[id - 1].process.take().expect("no node is named twice");
            process.wait().expect("it can be waited for");
        }
    }

    /// Asks node `id` to stop and waits for it; returns its exit code and how long it took.
    ///
    /// # Panics
    /// When it is down or does not stop within ten seconds.
    pub fn stop(&mut self, id: usize) -> (Option<i32>, Duration) {
        let mut process = self.nodes[id - 1].process.take().expect("the node runs");
        let asked = Instant::now();
        signal(process.id(), "TERM");
        loop {
            if let Some(status) = process.try_wait().expect("it can be waited for") {
                return (status.code(), asked.elapsed());
            }
            assert!(asked.elapsed() < Duration::from_secs(10), "node {id} does not stop: {}", self.log(id));
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Stops node `id` in its tracks until [`Cluster::resume`].
    pub fn pause(&self, id: usize) {
        self.signal(id, "STOP");
    }

    /// Lets a paused node go on.
    pub fn resume(&self, id: usize) {
        self.signal(id, "CONT");
    }

    fn signal(&self, id: usize, name: &str) {
        if let Some(process) = &self.nodes[id - 1].process {
            signal(process.id(), name);
        }
    }

    /// The ids of the nodes that run.
    pub fn running(&self) -> Vec<usize> {
        (1..=self.nodes.len()).filter(|id| self.nodes[id - 1].process.is_some()).collect()
    }

    /// The ids of the nodes that do not.
    pub fn down(&self) -> Vec<usize> {
        (1..=self.nodes.len()).filter(|id| self.nodes[id - 1].process.is_none()).collect()
    }

    /// The network between the nodes, where they were started behind one.
    pub fn proxy(&self) -> Option<&Proxy> {
        self.proxy.as_ref()
    }

    /// How many nodes there are.
    pub fn size(&self) -> usize {
        self.nodes.len()
    }

    /// Node `id`'s address: where others reach it.
    pub fn address(&self, id: usize) -> &str {
        &self.nodes[id - 1].address
    }

    /// All addresses.
    pub fn addresses(&self) -> Vec<String> {
        self.nodes.iter().map(|node| node.address.clone()).collect()
    }

    /// The folder with configuration, certificates and data.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The administrator's context file, made by the first node that starts.
    pub fn context(&self) -> PathBuf {
        self.folder.path().join("kv-pki").join("admin.kvctx")
    }

    /// What node `id` has said so far.
    pub fn log(&self, id: usize) -> String {
        fs::read_to_string(self.log_of(id)).unwrap_or_default()
    }

    fn log_of(&self, id: usize) -> PathBuf {
        self.folder.path().join(format!("n{id}.log"))
    }
}

impl Drop for Cluster {
    #[allow(clippy::print_stderr, reason = "a failing test shows what its nodes said")]
    fn drop(&mut self) {
        for node in &mut self.nodes {
            if let Some(mut process) = node.process.take() {
                let _ = process.kill();
                let _ = process.wait();
            }
        }
        if std::thread::panicking() {
            for id in 1..=self.size() {
                let log = self.log(id);
                let tail: Vec<_> = log.lines().rev().take(15).collect();
                eprintln!("--- n{id}, newest first\n{}", tail.join("\n"));
            }
        }
    }
}

fn signal(process: u32, name: &str) {
    let sent = Command::new("kill").args(["-s", name, &process.to_string()]).status();
    assert!(sent.is_ok_and(|status| status.success()), "signal {name} can be sent");
}

/// A UDP port that was free a moment ago and that no other caller in this process is given.
fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let start = u16::try_from(std::process::id() % 10_000).expect("below ten thousand");
    loop {
        let port = 20_000 + (start + NEXT.fetch_add(1, Relaxed)) % 12_000;
        if UdpSocket::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}
