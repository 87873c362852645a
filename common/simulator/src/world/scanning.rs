//! Scans: calls that are answered by pages, made one by one while everything else goes on, and each judged as it leaves
//! its server. A client that loses one goes on where it broke off, where a server can still serve that revision, as the
//! production client does.

use client::retry::Retry;
use kvd::state::view::{PageLimits, View};
use protocol::{
    Consistency, Refused, Request, Response, ResponseFrame, Scan, ScanFrame,
    scan::{Page, Want},
};
use testkit::rng::Rng;

use super::{Plan, Target, World};
use crate::{options::Options, server::Serving, watch::Moment};

/// What a client knows of the scan that it is at.
pub(super) struct Scanning {
    rng: Rng,
    /// Revision of the latest page, and what came last in it.
    reached: Option<(u64, Last)>,
}

/// After what a scan is to go on.
enum Last {
    Key(Vec<u8>),
    Version(u64),
}

impl Scanning {
    pub(super) fn new(rng: Rng) -> Self {
        Self { rng, reached: None }
    }

    /// A scan of all keys, or of a few.
    fn draw(&mut self, options: &Options) -> Scan {
        let rng = &mut self.rng;
        let mut key = || format!("k{}", rng.below(options.keys)).into_bytes();
        let (from, to) = (key(), key());
        let scan = if rng.chance(500_000) { Scan::default() } else { Scan::range(&from, &to) };
        let limit = rng.chance(300_000).then(|| rng.between(1, 10));
        let want = rng.pick(&[Want::Rows, Want::Rows, Want::Keys, Want::Count]).copied().unwrap_or_default();
        let stale = rng.chance(options.stale);
        let consistency = if stale { Consistency::Stale } else { Consistency::Linearizable };
        Scan { limit, want, consistency, ..scan }
    }

    /// The request of the next attempt: what is left of a scan, where something was seen of it.
    pub(super) fn rest(&self, request: &Request) -> Request {
        match (request, &self.reached) {
            (Request::Scan(scan), Some((revision, last))) => {
                let rest = Scan { at: Some(*revision), age_ms: None, ..scan.clone() };
                Request::Scan(match last {
                    Last::Key(key) => rest.after(key),
                    Last::Version(version) => Scan { below: Some(*version), ..rest },
                })
            }
            _ => request.clone(),
        }
    }
}

impl World {
    /// Begins a scan instead of another call, now and then.
    pub(super) fn begins_scan(&mut self, me: usize) -> bool {
        let client = &mut self.clients[me];
        if !client.scanning.rng.chance(self.options.scans) {
            return false;
        }
        let scan = client.scanning.draw(&self.options);
        self.counts.add("client: scanned");
        self.scans(me, scan);
        true
    }

    /// Begins this scan.
    pub(super) fn scans(&mut self, me: usize, scan: Scan) {
        let client = &mut self.clients[me];
        client.calls += 1;
        client.scanning.reached = None;
        let retry = Retry::read(client.scanning.rng.bits());
        self.call(me, retry, None, Request::Scan(scan), None);
    }

    /// The node gave a view for a scan.
    pub(super) fn begin_scan(&mut self, target: Target, number: u64, view: View) {
        let Some(attempt) = self.attempts.get(&number) else { return };
        let Request::Scan(scan) = attempt.request.clone() else {
            panic!("VIOLATION s{} takes a view for something else", target.server)
        };
        if scan.consistency == Consistency::Linearizable {
            let (revision, known) = (view.revision(), attempt.known);
            assert!(revision >= known, "VIOLATION s{} scans at {revision}, {known} was known", target.server);
        }
        let moment = Moment { revision: view.revision(), clock_ms: view.clock_ms() };
        let rows = usize::try_from(self.options.page_rows).unwrap_or(1);
        // Of few rows a page is so small that the way back to what was there takes several.
        let limits = PageLimits { bytes: 1000, rows, keys: if rows < 5 { 3 } else { 200 } };
        match view.scan(scan.clone(), limits) {
            Ok(cursor) => {
                if let Some(process) = self.servers[target.server].process() {
                    process.scans.insert(number, Serving { cursor, scan, sent: 0, moment });
                }
                self.plan_page(target, number);
            }
            Err(refused) => self.refuse_past(target, number, (&scan, moment), refused),
        }
    }

    /// What a scan asks for is not kept, or not there yet.
    fn refuse_past(
        &mut self,
        target: Target,
        number: u64,
        (scan, moment): (&Scan, Moment),
        refused: Refused,
    ) {
        self.watch.past_refused(target.server, scan, moment, &refused);
        let Some(attempt) = self.attempts.get(&number) else { return };
        let scanning = &mut self.clients[attempt.client].scanning;
        self.counts.add(if scanning.reached.take().is_some() {
            "client: could not go on with a scan"
        } else {
            "client: read a past that is not kept"
        });
        self.end_scan(target, number, Err(refused));
    }

    fn plan_page(&mut self, target: Target, number: u64) {
        let delay = 1 + self.rng.below(self.options.page_us);
        if let Some(attempt) = self.attempts.get_mut(&number)
            && let Some((_, due)) = attempt.due.as_mut()
        {
            *due = (*due).max(self.agenda.now() + delay + 2_000_000);
        }
        self.agenda.after(delay, Plan::Page(target, number));
    }

    /// The next page of a scan, or its end.
    pub(super) fn page(&mut self, target: Target, number: u64) {
        let (me, now) = (target.server, self.agenda.now());
        let Some(process) = self.serving(target, Plan::Page(target, number)) else { return };
        let Some(mut serving) = process.scans.remove(&number) else { return };
        let frame = match serving.cursor.answer() {
            Ok(frame) => ScanFrame::decode(&frame.encode()).expect("VIOLATION a page does not decode"),
            Err(error) => return self.gives_up(me, &error.to_string()),
        };
        self.trace.note(now, 33, number);
        self.trace.say(now, || format!("s{me} answers #{number}: {frame:?}"));
        match frame {
            ScanFrame::Page(page) => {
                let Serving { scan, sent, moment, .. } = &mut serving;
                if scan.want == Want::Versions {
                    self.counts.add("client: listed what a key held");
                    self.watch.versions(me, scan, *sent, *moment, &page.versions);
                } else {
                    self.watch.page(me, scan, (*sent, *moment), &page);
                }
                *sent += page.rows.len() + page.versions.len();
                self.saw(number, &page);
                if let Some(process) = self.servers[me].process() {
                    process.scans.insert(number, serving);
                }
                self.plan_page(target, number);
            }
            ScanFrame::End(end) => {
                self.watch.scan_ended(me, &serving.scan, (serving.sent, serving.moment), &end);
                if let Some(attempt) = self.attempts.get(&number)
                    && self.clients[attempt.client].is_at(number)
                {
                    self.clients[attempt.client].past.ended();
                }
                self.end_scan(
                    target,
                    number,
                    Ok(Response::Value { found: None, revision: end.revision, staleness_ms: None }),
                );
            }
            ScanFrame::Digest(_) => panic!("VIOLATION s{me} answers with a hash that nobody wanted"),
            ScanFrame::Refused(refused) => {
                self.refuse_past(target, number, (&serving.scan, serving.moment), refused);
            }
            ScanFrame::Cut(why) => panic!("VIOLATION s{me} cuts a scan: {why}"),
        }
        self.notice_power(target);
    }

    /// A page reaches the client that waits for it.
    fn saw(&mut self, number: u64, page: &Page) {
        let rows = page.rows.last().map(|row| Last::Key(row.key.clone()));
        let last = rows.or(page.versions.last().map(|version| Last::Version(version.revision)));
        let (Some(attempt), Some(last)) = (self.attempts.get(&number), last) else { return };
        let client = &mut self.clients[attempt.client];
        if client.is_at(number) {
            client.scanning.reached = Some((page.revision, last));
            client.past.saw(page);
        }
    }

    /// How a scan ended; an answer of the other kind stands for the last frame of its stream.
    fn end_scan(&mut self, target: Target, number: u64, result: Result<Response, Refused>) {
        let Some(attempt) = self.attempts.get(&number) else { return };
        let delay = self.options.latency_us + self.rng.below(self.options.latency_us);
        let (from, client) = (target.server, attempt.client);
        let frame = Box::new(ResponseFrame { id: number, result });
        self.agenda.after(delay, Plan::Answer { from, client, frame });
    }
}
