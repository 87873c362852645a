//! Waiting for a lock: a watch says when its key is gone, and then everybody tries who waits.

use std::time::Duration;

use client::{Client, Watching};
use protocol::{Consistency, Watch, response::Found};
use tokio::time::{Instant, sleep_until};

use super::{
    child::Signals,
    hold::{Held, Open, Taken, Times, take},
};
use crate::{command::lease::no_room, error::Failure, exit::Exit, text};

/// The far end of a wait without one.
const NEVER: Duration = Duration::from_hours(24 * 365);

/// Those who wait for a key, of whom this is one.
pub(super) struct Queue<'a> {
    pub(super) client: &'a Client,
    pub(super) key: &'a [u8],
    pub(super) times: Times,
    pub(super) say: &'a dyn Fn(&str),
}

impl Queue<'_> {
    /// Waits until it is ours, for so long at most.
    pub(super) async fn wait(&self, most: Option<Duration>, signals: &mut Signals) -> Result<Held, Failure> {
        let (own, until) =
            (own_name(), Instant::now().checked_add(most.unwrap_or(NEVER)).unwrap_or_else(Instant::now));
        let mut open: Option<Open> = None;
        let mut shown = String::new();
        loop {
            // Not only while another holds it: the cluster may be long in saying who does.
            if let Some(signal) = signals.arrived().await {
                return Err(signal.failure());
            }
            // An attempt is never left half-way: it could be ours without anybody here knowing.
            let (seen, holder) =
                match take(self.client, (self.key, own.as_bytes()), self.times, &mut open).await {
                    Ok(Taken::Ours(held)) => {
                        if Instant::now() < self.times.of_call(held.began()).renew {
                            return Ok(held);
                        }
                        // It took so long that it is over, or soon will be.
                        self.client.revoke(held.fence, None).await?;
                        continue;
                    }
                    Ok(Taken::Theirs(seen, holder)) => (seen, holder),
                    Ok(Taken::No(verdict)) => {
                        let unknown = || Failure::internal("a lock was neither taken nor refused");
                        return Err(no_room(verdict).unwrap_or_else(unknown));
                    }
                    Err(error) if open.is_some() && Instant::now() < until => {
                        let told = error.to_string();
                        if told != shown {
                            (self.say)(&format!("waiting: {told}"));
                            shown = told;
                        }
                        continue;
                    }
                    Err(error) => return Err(error.into()),
                };
            let told = holder.as_ref().map(tell).unwrap_or_default();
            if told != shown && !told.is_empty() {
                (self.say)(&format!("waiting: held by {told}{}", self.left().await));
                shown = told;
            }
            let mut watching = self.client.watch(Watch { after: Some(seen), ..Watch::key(self.key) });
            tokio::select! {
                () = gone(&mut watching) => {}
                () = sleep_until(until) => return Err(self.over(&shown)),
                signal = signals.sent() => return Err(signal.failure()),
            }
        }
    }

    /// How long the holder has it if nothing more is heard of it. Only shown.
    async fn left(&self) -> String {
        let read = self.client.get(self.key, Consistency::Linearizable).await.ok();
        let held = read.and_then(|read| read.found?.lease?.remaining_ms);
        held.map_or_else(String::new, |millis| {
            format!(", {}.{}s left on lease", millis / 1000, millis % 1000 / 100)
        })
    }

    fn over(&self, holder: &str) -> Failure {
        let held = if holder.is_empty() { String::new() } else { format!(" by {holder}") };
        let message = format!("{} is still held{held}", text::key(self.key));
        Failure::new(Exit::Chosen(124), "KV-1233", "wait_over", message)
            .hint("nothing was run; wait longer with --wait, or look who it is with `kvctl get`")
    }
}

/// Until the key is gone, or that may have been missed.
async fn gone(watching: &mut Watching) {
    loop {
        match watching.next().await {
            Ok(batch) if batch.events.iter().any(|event| event.found.is_none()) => return,
            // What happened meanwhile is no longer kept: a try will tell.
            Err(client::Error::Refused(_) | client::Error::Denied { .. }) => return,
            // Another holder, or no node can be asked now; the watch goes on where it was.
            Ok(_) | Err(_) => {}
        }
    }
}

/// Who holds it, as it said itself.
fn tell(holder: &Found) -> String {
    text::printable(&String::from_utf8_lossy(&holder.value))
}

/// This process, for those who wait for it.
fn own_name() -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let host = if host.trim().is_empty() { "some host" } else { host.trim() };
    format!("{host} (pid {})", std::process::id())
}
