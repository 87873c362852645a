//! `lock` and `elect`: a command that runs while this process holds a key, and no longer.
//!
//! The key is written if it is absent, under a lease of its own; the revision of that write is the fence, which grows from
//! holder to holder. The lease is renewed while the command runs and revoked when it has ended. Who waits is told by a watch
//! that the key is gone and then tries to write it; of several who do, one succeeds, whoever it is.
//!
//! **Never two holders** by the passing of time. The cluster ends a lease no sooner than its time after the entry that granted
//! or renewed it, and that entry was made after the call for it had begun. So the time is counted here from before the call,
//! by a clock that nobody sets, and before it is over the command is told to end, and then killed:
//!
//! ```text
//! call begins                                          TERM        KILL      the lease may end
//! ├───── ttl/3 ─────┤ renew, and again, and again ─────┤── grace ──┤─ margin ─┤
//! ```
//!
//! Where somebody else removes or writes the key, or ends the lease, another may hold it at once: the command is told to end
//! when that is seen, and has its grace. Of that, and of what follows, only the fence protects.
//!
//! What no process can promise of another: if this one is killed, or stands still with its machine, its command may run on
//! while somebody else holds the key. What the command writes elsewhere must therefore carry the fence, and be refused where
//! a higher one was seen.

use std::{ffi::OsString, os::unix::ffi::OsStrExt as _, time::Duration};

use clap::Args;
use client::Client;
use tokio::{
    sync::watch,
    time::{Instant, sleep_until, timeout},
};

use self::{
    child::{Child, Signals},
    hold::{Held, Lost, Times},
    wait::Queue,
};
use super::{data::check_key, watch::Watch};
use crate::{
    connect::Session,
    error::Failure,
    exit::Exit,
    listing::Out,
    render::Screen,
    report::{Body, Document, Report},
    text,
};

mod child;
mod hold;
mod wait;

/// How long the cluster may take to hear that a lock is released; then its lease ends by itself.
const RELEASE_WITHIN: Duration = Duration::from_secs(2);

/// Arguments of `lock`.
#[derive(Args, Debug, PartialEq)]
#[command(
    after_help = "Examples:\n  kvctl lock backup -- ./backup.sh\n  kvctl lock backup --wait 10s --ttl 30s -- ./backup.sh\n\n\
                        The command has KV_KEY and KV_FENCE in its environment. The fence grows with every holder: whatever the\n\
                        command writes to should refuse a lower one than it has seen.\n\n\
                        Exit codes: that of the command (128 and the signal, where one ended it); 122 the lease was lost and the\n\
                        command ended, 124 the wait is over, 125 kvctl failed, 126 and 127 the command cannot be run."
)]
pub struct Lock {
    /// The key that is held
    pub name: OsString,
    /// How long to wait for it; for ever where nothing is said
    #[arg(long, value_name = "TIME", value_parser = text::parse_duration)]
    pub wait: Option<Duration>,
    /// After how long without a word from here others may have it
    #[arg(long, value_name = "TIME", default_value = "15s", value_parser = parse_ttl)]
    pub ttl: Duration,
    /// What to run, with its arguments
    #[arg(last = true, required = true, value_name = "COMMAND")]
    pub command: Vec<OsString>,
}

/// Arguments of `elect`.
#[derive(Args, Debug, PartialEq)]
#[command(
    after_help = "Examples:\n  kvctl elect scheduler -- ./scheduler\n  kvctl elect scheduler --observe\n  \
                        kvctl elect scheduler --observe -- ./leader-changed.sh\n\n\
                        It stands until it is elected, and runs the command for as long as it leads; exit codes and environment\n\
                        are those of `kvctl lock`. With --observe it shows who leads whenever that changes, as `kvctl watch` does, or\n\
                        runs the command for each change."
)]
pub struct Elect {
    /// The key that the leader holds
    pub name: OsString,
    /// Do not stand: show who leads
    #[arg(long, conflicts_with = "ttl")]
    pub observe: bool,
    /// After how long without a word from the leader another is elected
    #[arg(long, value_name = "TIME", default_value = "15s", value_parser = parse_ttl)]
    pub ttl: Duration,
    /// What to run, with its arguments
    #[arg(last = true, required_unless_present = "observe", value_name = "COMMAND")]
    pub command: Vec<OsString>,
}

/// Reads the time of a lease: too short a one cannot be kept over any network.
fn parse_ttl(word: &str) -> Result<Duration, String> {
    let ttl = text::parse_duration(word)?;
    if ttl < Duration::from_secs(1) { Err("shorter than a second".to_owned()) } else { Ok(ttl) }
}

impl Lock {
    pub(super) fn prepare(&self) -> Result<(), Failure> {
        check_key(&self.name)
    }

    pub(super) async fn run(&self, session: &Session, out: &Out<'_>) -> Result<Report, Failure> {
        let holding = Holding {
            key: &self.name,
            command: &self.command,
            times: Times::of(self.ttl),
            wait: self.wait,
            screen: out.screen,
            won: "acquired",
        };
        holding.run(session.client()).await
    }
}

impl Elect {
    pub(super) fn prepare(&self) -> Result<(), Failure> {
        check_key(&self.name)
    }

    pub(super) fn conclude(&self, result: Result<Report, Failure>) -> Result<Report, Failure> {
        if self.command.is_empty() { result } else { conclude(result) }
    }

    pub(super) async fn run(&self, session: &Session, out: &mut Out<'_>) -> Result<Report, Failure> {
        if self.observe {
            return Watch::of_holder(&self.name, &self.command).run(session, out).await;
        }
        let holding = Holding {
            key: &self.name,
            command: &self.command,
            times: Times::of(self.ttl),
            wait: None,
            screen: out.screen,
            won: "elected",
        };
        holding.run(session.client()).await
    }
}

/// Whatever goes wrong while a command is run has a code that none has by custom; what has one of its own keeps it.
pub(super) fn conclude(result: Result<Report, Failure>) -> Result<Report, Failure> {
    let own = |exit| matches!(exit, Exit::Chosen(_) | Exit::Interrupted | Exit::Terminated | Exit::Pipe);
    result.map_err(
        |failure| {
            if own(failure.exit) { failure } else { Failure { exit: Exit::Chosen(125), ..failure } }
        },
    )
}

/// What is held, and run meanwhile.
struct Holding<'a> {
    key: &'a OsString,
    command: &'a [OsString],
    times: Times,
    wait: Option<Duration>,
    screen: Screen,
    won: &'static str,
}

impl Holding<'_> {
    async fn run(&self, client: &Client) -> Result<Report, Failure> {
        let mut signals = Signals::listen()?;
        let queue = Queue {
            client,
            key: self.key.as_bytes(),
            times: self.times,
            say: &|text| self.screen.tell(text),
        };
        let held = queue.wait(self.wait, &mut signals).await?;
        self.screen.tell(&format!("{}, fence {}", self.won, held.fence));
        let ran = self.keep(client, &held, &mut signals).await;
        // What was lost ends by itself, and whoever waits for this process is told at once.
        let is_lost = matches!(&ran, Err(failure) if failure.exit == Exit::Chosen(122));
        if !is_lost
            && matches!(timeout(RELEASE_WITHIN, client.revoke(held.fence, None)).await, Err(_) | Ok(Err(_)))
        {
            let left = self.times.of_call(held.began()).ends.saturating_duration_since(Instant::now());
            self.screen
                .tell(&format!("not released: no node answers; its lease ends within {}", text::age(left)));
        }
        Ok(Report::new(Document::bare(), Body::Hidden).exit(Exit::absent(ran?)))
    }

    /// Runs the command while the lease is kept, and says with what it ended.
    async fn keep(&self, client: &Client, held: &Held, signals: &mut Signals) -> Result<u8, Failure> {
        let mut child = Child::spawn(self.command, self.key, held.fence)?;
        let (told, mut began) = watch::channel(held.began());
        let mut keeper = tokio::spawn(hold::keep(
            client.clone(),
            self.key.as_bytes().to_vec(),
            held.fence,
            self.times,
            told,
        ));
        let lost = loop {
            let term = self.times.of_call(*began.borrow_and_update()).term;
            tokio::select! {
                biased;
                signal = signals.next() => match signal {
                    Some(signal) => child.forward(signal),
                    None => {
                        if let Some(code) = child.ended()? {
                            keeper.abort();
                            return Ok(code);
                        }
                    }
                },
                lost = &mut keeper => break lost.unwrap_or(Lost::Late),
                Ok(()) = began.changed() => {}
                () = sleep_until(term) => break Lost::Late,
            }
        };
        keeper.abort();
        let kill = match lost {
            // Somebody else may hold it at any moment.
            Lost::Gone => Instant::now().checked_add(self.times.grace).unwrap_or_else(Instant::now),
            Lost::Late => self.times.of_call(*began.borrow()).kill,
        };
        self.screen.tell(&format!("lost: {lost}; the command is ended"));
        child.stop(kill, signals).await?;
        let message = format!("{} is no longer held: {lost}", text::key(self.key.as_bytes()));
        Err(Failure::new(Exit::Chosen(122), "KV-1232", "lease_lost", message).hint(lost.next()))
    }
}
