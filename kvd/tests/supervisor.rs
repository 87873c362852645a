//! What a real process tells its supervisor, on a socket as systemd has one.
#![allow(clippy::unwrap_used, reason = "a test")]

use std::{
    fs,
    net::UdpSocket,
    os::unix::net::UnixDatagram,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

/// No test waits longer than this for anything, nor takes longer.
const PATIENCE: Duration = Duration::from_mins(1);
/// What the supervisor waits for a sign of life.
const WATCHDOG: Duration = Duration::from_millis(400);

struct Supervised {
    home: tempfile::TempDir,
    socket: UnixDatagram,
    node: Child,
    began: Instant,
}

impl Supervised {
    /// A cluster of one, with `WATCHDOG_PID` as given.
    fn start(watchdog_pid: Option<&str>) -> Self {
        let home = tempfile::tempdir().unwrap();
        let port = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let config = format!("[[server]]\nid = 1\naddress = \"127.0.0.1:{port}\"\n");
        fs::write(home.path().join("kvd.toml"), config).unwrap();
        let socket = UnixDatagram::bind(home.path().join("notify")).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_kvd"));
        command.args(["run", "--config", "kvd.toml"]).current_dir(home.path()).stdin(Stdio::null());
        command.stderr(fs::File::create(home.path().join("log")).unwrap());
        command.env("NOTIFY_SOCKET", home.path().join("notify"));
        command.env("WATCHDOG_USEC", WATCHDOG.as_micros().to_string()).env_remove("WATCHDOG_PID");
        command.envs(watchdog_pid.map(|pid| ("WATCHDOG_PID", pid)));
        let node = command.spawn().unwrap();
        Self { home, socket, node, began: Instant::now() }
    }

    fn next(&self) -> String {
        assert!(self.began.elapsed() < PATIENCE, "it tells much and not what is waited for");
        let mut bytes = [0; 4096];
        let length = self.socket.recv(&mut bytes).unwrap_or_else(|error| {
            panic!("nothing was told ({error}): {}", fs::read_to_string(self.path("log")).unwrap())
        });
        String::from_utf8(bytes[..length].to_vec()).unwrap()
    }

    /// What is told until this, without the signs of life.
    fn until(&self, end: &str) -> Vec<String> {
        let mut told = Vec::new();
        loop {
            let line = self.next();
            let is_end = line.starts_with(end);
            if line != "WATCHDOG=1" {
                told.push(line);
            }
            if is_end {
                return told;
            }
        }
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.home.path().join(name)
    }

    fn signal(&self, name: &str) {
        let id = self.node.id().to_string();
        assert!(Command::new("kill").args([name, &id]).status().unwrap().success());
    }
}

impl Drop for Supervised {
    fn drop(&mut self) {
        let _ = self.node.kill();
        let _ = self.node.wait();
    }
}

#[test]
fn a_supervisor_is_told_of_the_whole_life() {
    let mut kvd = Supervised::start(None);
    assert_eq!(
        kvd.until("READY=1"),
        ["STATUS=opening the log and the state", "READY=1\nSTATUS=waits for a leader"]
    );
    kvd.until("STATUS=leader in term ");
    // Signs of life come as long as the loop turns, at half of the time at the latest.
    for _ in 0..3 {
        while kvd.next() != "WATCHDOG=1" {}
    }

    kvd.signal("-HUP");
    assert_eq!(kvd.until("READY=1"), ["RELOADING=1", "READY=1"]);
    // Certificates that cannot be read are no reason to stop, and are told.
    fs::write(kvd.path("kv-pki/node-1.pem"), "no certificate").unwrap();
    kvd.signal("-HUP");
    let told = kvd.until("READY=1");
    assert!(
        told.len() == 3
            && told[1].starts_with("STATUS=certificates not reloaded: ")
            && !told[1].contains('\n'),
        "{told:?}"
    );

    kvd.signal("-TERM");
    assert_eq!(kvd.until("STOPPING=1").last().unwrap(), "STOPPING=1\nSTATUS=stopping");
    assert_eq!(kvd.node.wait().unwrap().code(), Some(0));
}

#[test]
fn a_loop_that_hangs_gives_no_sign() {
    let kvd = Supervised::start(None);
    while kvd.next() != "WATCHDOG=1" {}
    kvd.signal("-STOP");
    kvd.socket.set_read_timeout(Some(WATCHDOG)).unwrap();
    // What it said before it was stopped is still in the socket.
    let mut bytes = [0; 4096];
    let before = (0..10).take_while(|_| kvd.socket.recv(&mut bytes).is_ok()).count();
    assert!(before < 10, "{before}");
    kvd.signal("-CONT");
    kvd.socket.set_read_timeout(Some(PATIENCE)).unwrap();
    while kvd.next() != "WATCHDOG=1" {}
}

#[test]
fn a_watchdog_of_another_process_is_not_fed() {
    let kvd = Supervised::start(Some("1"));
    kvd.until("STATUS=leader in term ");
    kvd.signal("-TERM");
    loop {
        let told = kvd.next();
        assert_ne!(told, "WATCHDOG=1");
        if told.starts_with("STOPPING=1") {
            return;
        }
    }
}
