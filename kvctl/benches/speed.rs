//! How long whole processes take, from their start to their end, beside what they could not be faster than: an empty
//! process, and one that makes a QUIC connection with mutual TLS, asks once and ends. Floor and subject take turns, so what
//! else the machine does hits both. A bar is a distance from the floor, for the floor is the machine's.
//!
//! `cargo bench -p kvctl --bench speed` builds what it needs, measures for about a minute, prints a line each and ends with 1
//! when a bar is missed. `KV_BENCH_RUNS` sets how many runs a line has, 200 where it is not set; `KV_BENCH_BIN` names the folder
//! of other programs than those of the same build.
//!
//! The program is its own floors: started with `empty` it ends at once, with `ask ADDRESS FOLDER` it asks.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a measurement that cannot go on has failed")]

use std::{
    env, fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{SocketAddr, UdpSocket},
    path::{Path, PathBuf},
    process::{Child, Command, ExitCode, Stdio},
    time::{Duration, Instant},
};

use testkit::{cluster::Cluster, programs};
use transport::{Authority, CloseCode, Endpoint, Identity, Settings};

/// Largest frame of the floor that asks.
const FRAME: usize = 1024;
/// What asks a terminal for the cursor's place.
const CURSOR_ASKED: &[u8] = b"\x1b[6n";
/// No run of anything may take longer.
const PATIENCE: Duration = Duration::from_secs(30);

fn main() -> ExitCode {
    let words: Vec<String> = env::args().collect();
    match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [_, "empty"] => ExitCode::SUCCESS,
        [_, "ask", address, folder] => {
            ask(address.parse().unwrap(), Path::new(folder));
            ExitCode::SUCCESS
        }
        _ => measure(),
    }
}

fn measure() -> ExitCode {
    let runs = env::var("KV_BENCH_RUNS").ok().and_then(|runs| runs.parse().ok()).unwrap_or(200);
    if cfg!(debug_assertions) {
        println!("built without optimisation: the figures say nothing about a release");
    }
    let bench = Bench::start(runs);
    println!(
        "{:<34} {:>9} {:>9} {:>9} {:>9}  bar",
        "ms, p50 and p99 of whole processes", "p50", "p99", "floor", "over"
    );
    let met = [
        bench.version(),
        bench.get(),
        bench.refused(),
        bench.prompt(),
        bench.dev(),
        // Last, for it takes a node away.
        bench.silent(),
    ];
    ExitCode::from(u8::from(met.contains(&false)))
}

struct Bench {
    cluster: Cluster,
    kvctl: PathBuf,
    runs: usize,
    home: tempfile::TempDir,
    echo: SocketAddr,
}

impl Bench {
    fn start(runs: usize) -> Self {
        let cluster = Cluster::start(program("kvd"), 3);
        let home = tempfile::tempdir().unwrap();
        let kvctl = program("kvctl");
        let echo = echo(home.path());
        let bench = Self { cluster, kvctl, runs, home, echo };
        let began = Instant::now();
        while !bench.kvctl(&["set", "-q", "k", "v"]).status().unwrap().success() {
            assert!(began.elapsed() < PATIENCE, "the cluster does not come up");
        }
        bench
    }

    fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(program);
        command.env_clear().env("HOME", self.home.path()).env("KVCTL_CONTEXT", self.cluster.context());
        command
            .env("PATH", env::var_os("PATH").unwrap_or_default())
            .env("SHELL", "/bin/sh")
            .env("TERM", "xterm");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command
    }

    fn kvctl(&self, words: &[&str]) -> Command {
        let mut command = self.command(&self.kvctl);
        command.args(words);
        command
    }

    fn empty(&self) -> Command {
        let mut command = self.command(env::current_exe().unwrap());
        command.arg("empty");
        command
    }

    fn version(&self) -> bool {
        let [floor, subject] = turns(self.runs, [&|| ran(self.empty()), &|| ran(self.kvctl(&["--version"]))]);
        line("kvctl --version", "an empty process + 1", &subject, Some(&floor), 1.0)
    }

    fn get(&self) -> bool {
        let asking = || {
            let mut command = self.command(env::current_exe().unwrap());
            command.arg("ask").arg(self.echo.to_string()).arg(self.home.path());
            ran(command)
        };
        let [floor, subject] = turns(self.runs, [&asking, &|| ran(self.kvctl(&["get", "k"]))]);
        line("kvctl get, of three nodes", "one bare request over QUIC + 1.5", &subject, Some(&floor), 1.5)
    }

    /// With a node in front at whose port nobody listens.
    fn refused(&self) -> bool {
        let gone = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let live = self.cluster.address(1).to_owned();
        let both = format!("{gone},{live}");
        let [floor, subject] = turns(
            self.runs,
            [
                &|| ran(self.kvctl(&["get", "k", "-e", &live])),
                &|| ran(self.kvctl(&["get", "k", "-e", &both])),
            ],
        );
        line("kvctl get, first endpoint refuses", "without that endpoint + 5", &subject, Some(&floor), 5.0)
    }

    /// With a node that is there and says nothing.
    fn silent(&self) -> bool {
        self.cluster.pause(3);
        let subject = times(5, || {
            let began = Instant::now();
            let status = self.kvctl(&["status"]).status().unwrap();
            assert!(matches!(status.code(), Some(10)), "a node is missing: {status}");
            began.elapsed()
        });
        self.cluster.resume(3);
        line("kvctl status, one node silent", "1100", &subject, None, 1100.0)
    }

    /// On a terminal that `script` makes, which is the floor.
    fn prompt(&self) -> bool {
        let kvshell = program("kvshell").display().to_string();
        let drawn = |line: &str| {
            let mut command = self.command("script");
            command.args(["-q", "-c", line, "/dev/null"]).stdin(Stdio::piped()).stdout(Stdio::piped());
            let began = Instant::now();
            let mut child = command.spawn().expect("`script` of util-linux is installed");
            let took = until(&mut child, "> ", began);
            end(child);
            took
        };
        let runs = self.runs.min(20);
        let [floor, subject] =
            turns(runs, [&|| drawn("printf '> '; read x"), &|| drawn(&format!("exec {kvshell}"))]);
        line("kvshell, until its prompt", "a prompt of sh + 50", &subject, Some(&floor), 50.0)
    }

    fn dev(&self) -> bool {
        let subject = times(5, || {
            let mut command = self.command(program("kvd"));
            command.arg("dev").env_remove("KVCTL_CONTEXT").stdout(Stdio::piped());
            let began = Instant::now();
            let mut child = command.spawn().unwrap();
            let mut line = String::new();
            BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
            let took = began.elapsed();
            assert!(line.contains("3 nodes up"), "{line}");
            let pid = child.id().to_string();
            assert!(Command::new("kill").args(["-s", "INT", &pid]).status().unwrap().success());
            child.wait().unwrap();
            took
        });
        line("kvd dev, until three nodes are up", "1000", &subject, None, 1000.0)
    }
}

fn program(name: &str) -> PathBuf {
    env::var_os("KV_BENCH_BIN").map_or_else(|| programs::path(name), |dir| PathBuf::from(dir).join(name))
}

/// Until the process has written these.
fn until(child: &mut Child, words: &str, began: Instant) -> Duration {
    let (mut seen, mut bytes) = (Vec::new(), [0; 1024]);
    let stdout = child.stdout.as_mut().unwrap();
    loop {
        let count = stdout.read(&mut bytes).unwrap();
        seen.extend_from_slice(&bytes[..count]);
        // As a terminal does: where the cursor is.
        if bytes[..count].windows(CURSOR_ASKED.len()).any(|part| part == CURSOR_ASKED) {
            child.stdin.as_mut().unwrap().write_all(b"\x1b[1;1R").unwrap();
        }
        let text = String::from_utf8_lossy(&seen);
        assert!(count > 0 && began.elapsed() < PATIENCE, "no {words:?} in {text:?}");
        if text.contains(words) {
            return began.elapsed();
        }
    }
}

fn end(mut child: Child) {
    // What it ran ends with its terminal.
    drop(child.stdin.take());
    let _ = child.kill();
    child.wait().unwrap();
}

fn ran(mut command: Command) -> Duration {
    let began = Instant::now();
    let status = command.status().unwrap();
    let took = began.elapsed();
    assert!(status.success(), "{command:?}: {status}");
    took
}

fn times(runs: usize, run: impl Fn() -> Duration) -> Vec<Duration> {
    let mut times: Vec<Duration> = (0..runs).map(|_| run()).collect();
    times.sort_unstable();
    times
}

/// The times of both, taken in turns after a few that do not count.
fn turns(runs: usize, both: [&dyn Fn() -> Duration; 2]) -> [Vec<Duration>; 2] {
    for _ in 0..5 {
        for run in both {
            let _ = run();
        }
    }
    let mut times = [Vec::new(), Vec::new()];
    for _ in 0..runs {
        for (run, times) in both.iter().zip(&mut times) {
            times.push(run());
        }
    }
    for times in &mut times {
        times.sort_unstable();
    }
    times
}

fn at(sorted: &[Duration], percent: usize) -> f64 {
    sorted[(sorted.len() * percent / 100).min(sorted.len() - 1)].as_secs_f64() * 1000.0
}

/// Shows a line and whether the median is within the bar.
fn line(what: &str, words: &str, subject: &[Duration], floor: Option<&[Duration]>, bar: f64) -> bool {
    let (middle, last) = (at(subject, 50), at(subject, 99));
    let floor = floor.map(|floor| at(floor, 50));
    let over = middle - floor.unwrap_or(0.0);
    let met = over <= bar;
    let shown = floor.map_or_else(|| "-".to_owned(), |floor| format!("{floor:.2}"));
    let verdict = if met { "" } else { "  MISSED" };
    println!("{what:<34} {middle:>9.2} {last:>9.2} {shown:>9} {over:>9.2}  {words}{verdict}");
    met
}

/// A server that answers every frame with itself; its client's credentials are left in the folder.
fn echo(folder: &Path) -> SocketAddr {
    let authority = Authority::create("bench", 2).unwrap();
    let (node, client) =
        (authority.issue_node(1, &["127.0.0.1"], 1).unwrap(), authority.issue_client("bench", 1).unwrap());
    for (name, text) in [("ca", authority.cert_pem()), ("cert", &client.cert_pem), ("key", &client.key_pem)] {
        fs::write(folder.join(name), text).unwrap();
    }
    let identity = Identity::from_pem(authority.cert_pem(), &node.cert_pem, &node.key_pem).unwrap();
    let (sender, address) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let endpoint =
                Endpoint::server("127.0.0.1:0".parse().unwrap(), &identity, &Settings::default()).unwrap();
            sender.send(endpoint.local_addr()).unwrap();
            while let Some(accepting) = endpoint.accept().await {
                tokio::spawn(async move {
                    let Ok(accepted) = accepting.finish().await else { return };
                    while let Ok((mut writer, mut reader)) = accepted.connection.accept_bi().await {
                        if let Ok(Some(frame)) = reader.next(FRAME).await {
                            let _ = writer.write(&[frame]).await;
                            writer.finish();
                        }
                    }
                });
            }
        });
    });
    address.recv().unwrap()
}

/// One request, and the end as `kvctl` has it: closed, said, gone.
fn ask(address: SocketAddr, folder: &Path) {
    let text = |name| fs::read_to_string(folder.join(name)).unwrap();
    let identity = Identity::from_pem(&text("ca"), &text("cert"), &text("key")).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let endpoint = Endpoint::client(&identity, &Settings::client()).unwrap();
        let connection = endpoint.dial_client(address).await.unwrap();
        let (mut writer, mut reader) = connection.open_bi().await.unwrap();
        writer.write(&[b"k".as_slice().into()]).await.unwrap();
        assert!(reader.next(FRAME).await.unwrap().is_some());
        connection.close(CloseCode::Done, "");
        for _ in 0..8 {
            tokio::task::yield_now().await;
        }
    });
}
