//! What the process that started this one is told: systemd's notification protocol, as `sd_notify(3)` describes it.
//!
//! A datagram to the socket that `NOTIFY_SOCKET` names says that the node can answer, where it stands, that it reads its
//! certificates again, and that it stops. Where the variable is not set nobody is told anything, and nothing else differs.
//!
//! The sign of life comes from the loop that does the node's work, and from nothing beside it: a thread of its own would
//! go on telling that all is well while the loop hangs. It is sent at half of the time that the supervisor waits.
//!
//! Telling never waits and never fails the node. The socket does not block, so a supervisor that is slow loses a word of
//! status; a sign of life that did not get through is sent again in the loop's next turn.

use std::{
    ffi::{OsStr, OsString},
    io,
    os::unix::net::{SocketAddr, UnixDatagram},
    sync::Arc,
    time::{Duration, Instant},
};

/// Longest word of status that is sent: a datagram of it fits everywhere.
const STATUS_BYTES: usize = 512;

/// Whoever supervises this process, if anybody does.
#[derive(Clone, Debug, Default)]
pub struct Supervisor {
    channel: Option<Arc<Channel>>,
    patience: Option<Duration>,
}

#[derive(Debug)]
struct Channel {
    socket: UnixDatagram,
    address: SocketAddr,
}

impl Supervisor {
    /// What the environment says. An address that cannot be used is logged and then as good as none.
    pub fn of_process() -> Self {
        let Some(name) = std::env::var_os("NOTIFY_SOCKET").filter(|name| !name.is_empty()) else {
            return Self::default();
        };
        let number = |name: &str| std::env::var(name).ok()?.parse::<u64>().ok();
        let mine = std::env::var_os("WATCHDOG_PID").is_none()
            || number("WATCHDOG_PID") == Some(std::process::id().into());
        let patience = number("WATCHDOG_USEC").filter(|micros| mine && *micros > 0);
        match Channel::open(&name) {
            Ok(channel) => {
                Self { channel: Some(Arc::new(channel)), patience: patience.map(Duration::from_micros) }
            }
            Err(error) => {
                tracing::warn!(?name, %error, "NOTIFY_SOCKET cannot be used; the supervisor is told nothing");
                Self::default()
            }
        }
    }

    /// From now on requests are answered, if only with what keeps them from being served. A leader is not waited for: the
    /// first server of a cluster would wait for servers that are started after it.
    pub fn started(&self) {
        self.tell("READY=1\nSTATUS=waits for a leader");
    }

    /// The end of [`Supervisor::reloading`].
    pub fn ready(&self) {
        self.tell("READY=1");
    }

    /// What `systemctl status` shows beside the process.
    pub fn status(&self, status: &str) {
        let mut line = format!("STATUS={}", status.replace(['\n', '\r'], " "));
        line.truncate(line.floor_char_boundary(STATUS_BYTES));
        self.tell(&line);
    }

    /// Certificates are being read again, until [`Supervisor::ready`].
    pub fn reloading(&self) {
        self.tell("RELOADING=1");
    }

    /// The process has begun to end.
    pub fn stopping(&self) {
        self.tell("STOPPING=1\nSTATUS=stopping");
    }

    /// What the loop shows that it lives with.
    pub(crate) fn watchdog(&self) -> Watchdog {
        let channel = self.channel.clone();
        Watchdog(channel.zip(self.patience).map(|(channel, patience)| Pulse {
            channel,
            every: patience / 2,
            last: None,
        }))
    }

    fn tell(&self, lines: &str) {
        if let Some(channel) = &self.channel
            && let Err(error) = channel.send(lines)
        {
            tracing::warn!(%error, said = lines, "the supervisor was not told");
        }
    }
}

/// Shows that the loop turns, where somebody wants to see it.
pub(crate) struct Watchdog(Option<Pulse>);

struct Pulse {
    channel: Arc<Channel>,
    every: Duration,
    last: Option<Instant>,
}

impl Watchdog {
    /// The loop has come around once more.
    pub(crate) fn turned(&mut self) {
        if let Some(pulse) = &mut self.0 {
            pulse.turned(Instant::now());
        }
    }
}

impl Pulse {
    fn turned(&mut self, now: Instant) {
        let is_due = self.last.is_none_or(|last| now.saturating_duration_since(last) >= self.every);
        if is_due && self.channel.send("WATCHDOG=1").is_ok() {
            self.last = Some(now);
        }
    }
}

impl Channel {
    fn open(name: &OsStr) -> io::Result<Self> {
        let socket = UnixDatagram::unbound()?;
        socket.set_nonblocking(true)?;
        Ok(Self { socket, address: address(name)? })
    }

    fn send(&self, lines: &str) -> io::Result<()> {
        self.socket.send_to_addr(lines.as_bytes(), &self.address).map(drop)
    }
}

/// A path, or after an `@` a name without a file.
fn address(name: &OsStr) -> io::Result<SocketAddr> {
    let bytes = name.as_encoded_bytes();
    match bytes.split_first() {
        Some((b'/', _)) => SocketAddr::from_pathname(OsString::from(name)),
        Some((b'@', name)) => abstract_address(name),
        _ => Err(unusable("it is neither a path nor an abstract name")),
    }
}

#[cfg(target_os = "linux")]
fn abstract_address(name: &[u8]) -> io::Result<SocketAddr> {
    use std::os::linux::net::SocketAddrExt as _;
    SocketAddr::from_abstract_name(name)
}

#[cfg(not(target_os = "linux"))]
fn abstract_address(_name: &[u8]) -> io::Result<SocketAddr> {
    Err(unusable("this system has no abstract names"))
}

fn unusable(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, why)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(socket: &UnixDatagram) -> Option<String> {
        let mut bytes = [0; 4096];
        let length = socket.recv(&mut bytes).ok()?;
        Some(String::from_utf8(bytes[..length].to_vec()).unwrap())
    }

    fn supervised(name: &OsStr, patience: Duration) -> Supervisor {
        let channel = Channel::open(name).unwrap();
        Supervisor { channel: Some(Arc::new(channel)), patience: Some(patience) }
    }

    #[test]
    fn a_path_is_told_line_by_line_and_nobody_is_told_nothing() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_nonblocking(true).unwrap();
        let supervisor = supervised(path.as_os_str(), Duration::from_secs(1));
        supervisor.ready();
        supervisor.status("two\nlines");
        supervisor.stopping();
        let said = std::iter::from_fn(|| heard(&socket)).collect::<Vec<_>>();
        assert_eq!(said, ["READY=1", "STATUS=two lines", "STOPPING=1\nSTATUS=stopping"]);
        supervisor.status(&"ü".repeat(STATUS_BYTES));
        assert_eq!(heard(&socket).unwrap().len(), STATUS_BYTES - 1, "cut before a character, not in it");
        drop(socket);
        // Nobody listens any more, or ever did: both are no concern of the node's.
        supervisor.ready();
        Supervisor::default().ready();
        Supervisor::default().watchdog().turned();
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_name_without_a_file_is_told_too() {
        use std::os::linux::net::SocketAddrExt as _;
        let name = format!("kvd-supervisor-test-{}", std::process::id());
        let at = SocketAddr::from_abstract_name(&name).unwrap();
        let socket = UnixDatagram::bind_addr(&at).unwrap();
        socket.set_nonblocking(true).unwrap();
        supervised(OsStr::new(&format!("@{name}")), Duration::from_secs(1)).ready();
        assert_eq!(heard(&socket).unwrap(), "READY=1");
    }

    #[test]
    fn what_is_neither_a_path_nor_a_name_is_refused() {
        for name in ["relative", "vsock:2:1234", ""] {
            assert_eq!(address(OsStr::new(name)).unwrap_err().kind(), io::ErrorKind::InvalidInput, "{name}");
        }
        let long = format!("/{}", "x".repeat(200));
        assert!(address(OsStr::new(&long)).is_err(), "longer than an address can be");
    }

    #[test]
    fn a_sign_of_life_is_due_at_half_the_time_and_repeated_when_it_got_lost() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_nonblocking(true).unwrap();
        let supervisor = supervised(path.as_os_str(), Duration::from_secs(10));
        let mut pulse = supervisor.watchdog().0.unwrap();
        let began = Instant::now();
        let mut signs = |after: u64| {
            pulse.turned(began + Duration::from_millis(after));
            std::iter::from_fn(|| heard(&socket)).count()
        };
        let times = [0, 1, 4999, 5000, 5001, 9999, 10_000];
        assert_eq!(times.map(&mut signs), [1, 0, 0, 1, 0, 0, 1]);
        drop(socket);
        std::fs::remove_file(&path).unwrap();
        pulse.turned(began + Duration::from_secs(16));
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_nonblocking(true).unwrap();
        pulse.turned(began + Duration::from_secs(17));
        assert_eq!(heard(&socket).as_deref(), Some("WATCHDOG=1"));
    }
}
