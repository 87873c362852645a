//! The lease of a lock: taking it, renewing it, and how long it is certain.

use std::{fmt, time::Duration};

use client::{Client, Error, Watching};
use protocol::{Condition, Hold, RequestId, Verdict, Watch, response::Found};
use tokio::{
    sync::watch,
    time::{Instant, sleep, sleep_until},
};

/// Longest time that a command has between being told to end and being killed.
const GRACE: Duration = Duration::from_secs(5);
/// After a renewal that failed.
const PAUSE: Duration = Duration::from_millis(100);

/// The times of a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Times {
    /// How long it lasts.
    pub(super) ttl: Duration,
    /// What a command has to end by itself.
    pub(super) grace: Duration,
    /// Before the lease may end, the command is gone for so long.
    margin: Duration,
}

/// What happens when, where a call that was begun at some moment granted or renewed the lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Moments {
    /// The next renewal.
    pub(super) renew: Instant,
    /// The command is told to end.
    pub(super) term: Instant,
    /// It is killed.
    pub(super) kill: Instant,
    /// The lease may be over.
    pub(super) ends: Instant,
}

impl Times {
    #[expect(clippy::arithmetic_side_effects, reason = "parts of it")]
    pub(super) fn of(ttl: Duration) -> Self {
        Self { ttl, grace: (ttl / 4).min(GRACE), margin: ttl / 10 }
    }

    #[expect(clippy::arithmetic_side_effects, reason = "all of them are parts of a time of at most a day")]
    pub(super) fn of_call(self, began: Instant) -> Moments {
        let ends = began + self.ttl;
        let kill = ends - self.margin;
        Moments { renew: began + self.ttl / 3, term: kill - self.grace, kill, ends }
    }

    pub(super) fn millis(self) -> u64 {
        u64::try_from(self.ttl.as_millis()).unwrap_or(u64::MAX)
    }
}

/// A lock that is held.
#[derive(Debug)]
pub(super) struct Held {
    /// The revision that wrote the key, which is the id of its lease.
    pub(super) fence: u64,
    began: Instant,
}

impl Held {
    /// When the call began that took it.
    pub(super) fn began(&self) -> Instant {
        self.began
    }
}

/// What came of an attempt.
pub(super) enum Taken {
    /// It is ours.
    Ours(Held),
    /// It is another's, as far as up to this revision; who that is, where the answer says so.
    Theirs(u64, Option<Found>),
    /// It could not be: there is no room for a lease.
    No(Verdict),
}

/// An attempt of which nobody said what became of it.
pub(super) struct Open {
    request: RequestId,
    began: Instant,
}

/// Tries once. An attempt that is open is settled first, by its own id; and if it is ours by that, it is since it began.
pub(super) async fn take(
    client: &Client,
    (key, value): (&[u8], &[u8]),
    times: Times,
    open: &mut Option<Open>,
) -> Result<Taken, Error> {
    let began = open.as_ref().map_or_else(Instant::now, |open| open.began);
    let request = open.as_ref().map(|open| open.request);
    let hold = Hold::Ttl(times.millis());
    let taken = client.set_held(key, value, hold, Condition::Absent, true, request).await;
    let judged = match taken {
        Ok(judged) => judged,
        Err(Error::Unknown { request, why }) => {
            *open = Some(Open { request, began });
            return Err(Error::Unknown { request, why });
        }
        Err(error) => {
            *open = None;
            return Err(error);
        }
    };
    *open = None;
    Ok(match judged.decided.verdict {
        Verdict::Done => Taken::Ours(Held { fence: judged.decided.revision, began }),
        Verdict::Unmet => Taken::Theirs(judged.decided.revision, judged.decided.previous),
        other => Taken::No(other),
    })
}

/// Why a lock is no longer held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lost {
    /// The cluster says that there is no such lease.
    Gone,
    /// It was not renewed in time.
    Late,
}

impl Lost {
    /// What to think of it, and to do.
    pub(super) fn next(self) -> &'static str {
        match self {
            Self::Gone => {
                "somebody else may hold it already, since before the command had ended; see who with `kvctl get` and `kvctl history`"
            }
            Self::Late => {
                "the command was ended before anybody else could have it; run it again when the cluster answers"
            }
        }
    }
}

impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Gone => "its lease was ended, or its key removed",
            Self::Late => "its lease could not be renewed in time",
        })
    }
}

/// Keeps the lease until it is lost, and tells when the latest call began that renewed it.
pub(super) async fn keep(
    client: Client,
    key: Vec<u8>,
    lease: u64,
    times: Times,
    told: watch::Sender<Instant>,
) -> Lost {
    let watching = client.watch(Watch { after: Some(lease), ..Watch::key(&key) });
    tokio::select! {
        lost = renew(&client, lease, times, &told) => lost,
        () = changed(watching) => Lost::Gone,
    }
}

/// Until somebody else has written or removed the key, which takes it from us at once.
async fn changed(mut watching: Watching) {
    loop {
        match watching.next().await {
            Ok(batch) if !batch.events.is_empty() => return,
            // What happened is no longer kept: the next renewal will tell.
            Err(Error::Refused(_) | Error::Denied { .. }) => std::future::pending().await,
            Ok(_) | Err(_) => {}
        }
    }
}

/// Renews the lease until that is refused.
async fn renew(client: &Client, lease: u64, times: Times, told: &watch::Sender<Instant>) -> Lost {
    loop {
        let next = times.of_call(*told.borrow()).renew;
        sleep_until(next).await;
        let began = Instant::now();
        match client.renew(lease, None).await {
            Ok(renewed) if renewed.is_done() => {
                told.send_replace(began);
            }
            Ok(_) => return Lost::Gone,
            // Whoever waits for this knows when it is too late.
            Err(_) => sleep(PAUSE).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_gone_before_its_lease_may_end() {
        let began = Instant::now();
        for seconds in [1, 2, 15, 60, 86_400] {
            let ttl = Duration::from_secs(seconds);
            let at = Times::of(ttl).of_call(began);
            assert!(began < at.renew && at.renew < at.term, "there is time to renew: {at:?}");
            assert!(at.term < at.kill && at.kill < at.ends, "and to end: {at:?}");
            assert_eq!(at.ends - began, ttl);
            assert!(at.ends - at.kill >= ttl / 10 && at.kill - at.term <= GRACE);
            assert!(at.term - began >= ttl * 6 / 10, "most of the time is for renewing: {at:?}");
        }
    }
}
