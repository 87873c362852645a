//! One key replayed: its known writes in the order of their revisions, and what was seen between them.
//!
//! A *point* is a write whose revision is known: acknowledged, or of unknown outcome and read, or the creation that
//! some row names. A row that was read says that the key was there, without a break, from the revision that created
//! it to the one that wrote it last: its *life*. Within a life all points are sets, and between two of its points
//! whose version is known there are as many sets as the version grew. Outside of lives it is known after each point
//! whether the key is there, and before each point whether it was. Where these disagree, a write of unknown outcome
//! is wanted between.

use std::collections::BTreeMap;

use super::{
    History, Rule, Shown, Violation,
    conditions::Sighting,
    explain::{Kind, Wanted},
    name,
};
use crate::{
    history::Outcome,
    mutant::{self, Mutant},
};

/// The known writes of one key and the reads that found nothing.
pub(super) struct Timeline<'a> {
    key: &'a [u8],
    points: BTreeMap<u64, Point>,
    /// Lives by the revision that created them: the last revision that is known to belong to it, and a read of it.
    lives: BTreeMap<u64, (u64, usize)>,
    /// Reads that found nothing, in the order of their revisions.
    absences: Vec<(u64, usize)>,
}

/// A write at a known revision.
#[derive(Clone, Copy, Debug)]
struct Point {
    revision: u64,
    /// Which; `None` when only a row that was created here tells of it.
    operation: Option<usize>,
    what: Kind,
    /// What its client was told.
    existed: Option<bool>,
    /// What is known of its row.
    shown: Option<Shown>,
    /// Up to where conditional writes found it there, and the last of them.
    held: Option<(u64, usize)>,
}

impl Point {
    /// A set that only what came of it tells of.
    fn unowned(revision: u64) -> Self {
        Self { revision, operation: None, what: Kind::Set, existed: None, shown: None, held: None }
    }

    /// Up to where nothing changed after it.
    fn quiet(&self) -> u64 {
        self.last_seen().map_or(self.revision, |(revision, _)| self.revision.max(revision))
    }

    /// The highest revision at which it was seen to be the newest, and by whom.
    fn last_seen(&self) -> Option<(u64, usize)> {
        self.shown.map(|shown| shown.until).max(self.held)
    }

    /// Whether the key was there before, if that is known.
    fn found(&self) -> Option<bool> {
        self.existed.or_else(|| self.shown.map(|shown| shown.created != self.revision))
    }

    fn text(&self, history: &History<'_>) -> String {
        match (self.operation, self.shown) {
            (Some(at), _) => history.witness(at),
            (None, Some(shown)) => {
                format!("revision {} created what was read by {}", self.revision, history.text(shown.by))
            }
            (None, None) => match self.held {
                Some((_, at)) => format!("revision {} wrote what {} found", self.revision, history.text(at)),
                None => format!("revision {}", self.revision),
            },
        }
    }
}

/// The sets of one life since the last one whose version is known.
struct Window {
    version: u64,
    by: usize,
    sets: u64,
    ranges: Vec<(u64, u64)>,
}

impl<'a> Timeline<'a> {
    /// Lays out the operations `of` one key.
    pub(super) fn new(history: &History<'_>, key: &'a [u8], of: &[usize]) -> Result<Self, Violation> {
        let mut timeline =
            Self { key, points: BTreeMap::new(), lives: BTreeMap::new(), absences: Vec::new() };
        for at in of {
            if let Some(revision) = history.effects[*at] {
                timeline.add_write(history, *at, revision)?;
            } else if let Some((None, revision)) = history.read(*at)
                && !mutant::is(Mutant::AbsenceUnread)
            {
                timeline.absences.push((revision, *at));
            }
        }
        for at in of {
            if let Outcome::Judged { is_met: false, found: None, revision } = history.operations[*at].outcome
            {
                timeline.absences.push((revision, *at));
            }
        }
        timeline.absences.sort_unstable();
        timeline.begin_lives(history)?;
        for at in of {
            timeline.add_sighting(history, *at)?;
        }
        Ok(timeline)
    }

    fn add_write(&mut self, history: &History<'_>, at: usize, revision: u64) -> Result<(), Violation> {
        let operation = &history.operations[at];
        let what = Kind::of(&operation.call).unwrap_or(Kind::Delete);
        let existed = match operation.outcome {
            _ if mutant::is(Mutant::ExistedUnread) => None,
            Outcome::Written { existed, .. } => Some(existed),
            Outcome::Judged { found, .. } => Some(found.is_some()),
            _ => None,
        };
        let shown = history.shown.get(&at).copied();
        self.points
            .insert(revision, Point { revision, operation: Some(at), what, existed, shown, held: None });
        let Some(Shown { created, version, by, .. }) = shown else { return Ok(()) };
        let is_new = created == revision;
        if mutant::is(Mutant::CreatedUnread) {
            return Ok(());
        }
        if created == 0 || created > revision || existed == Some(is_new) {
            return Err(self.violation(Rule::Created, history, by, &history.text(at)));
        }
        if (is_new && version != 1 || !is_new && version < 2) && !mutant::is(Mutant::VersionUncounted) {
            return Err(self.violation(
                Rule::Version,
                history,
                by,
                "a row has version 1 where it is created",
            ));
        }
        let life = self.lives.entry(created).or_insert((revision, by));
        *life = (*life).max((revision, by));
        Ok(())
    }

    /// Puts a point at the beginning of every life, and looks whether lives overlap.
    fn begin_lives(&mut self, history: &History<'_>) -> Result<(), Violation> {
        let mut before: Option<(u64, usize)> = None;
        for (&created, &(last, by)) in &self.lives {
            if let Some((_, other)) = before.filter(|(end, _)| *end >= created) {
                return Err(self.violation(Rule::Created, history, by, &history.text(other)));
            }
            before = Some((last, by));
            let shown = Some(Shown { created, version: 1, by, until: (created, by) });
            let new = Point { shown, ..Point::unowned(created) };
            let point = self.points.entry(created).or_insert(new);
            if point.what == Kind::Delete || point.found() == Some(true) {
                let other = point.text(history);
                return Err(self.violation(Rule::Created, history, by, &other));
            }
            point.shown = point.shown.or(shown);
        }
        Ok(())
    }

    /// A conditional write found a row: so there was a set at its revision, and nothing after it.
    fn add_sighting(&mut self, history: &History<'_>, at: usize) -> Result<(), Violation> {
        let Some(Sighting { written, until }) = history.sighting(at) else { return Ok(()) };
        let point = self.points.entry(written).or_insert(Point::unowned(written));
        if point.what == Kind::Delete {
            let other = point.text(history);
            return Err(self.violation(Rule::Newest, history, at, &other));
        }
        point.held = point.held.max(Some((until, at)));
        Ok(())
    }

    /// Replays the key and returns what must have happened besides.
    pub(super) fn replay(&self, history: &History<'_>) -> Result<Vec<Wanted>, Violation> {
        let mut wanted = Vec::new();
        let mut window: Option<Window> = None;
        let mut absences = self.absences.as_slice();
        let mut before: Option<&Point> = None;
        for point in self.points.values() {
            let is_earlier = |(revision, _): &(u64, usize)| {
                *revision < point.revision || mutant::is(Mutant::OffByOne) && *revision == point.revision
            };
            let (between, rest) = absences.split_at(absences.partition_point(is_earlier));
            absences = rest;
            self.check_quiet(history, before, point)?;
            let life = self
                .lives
                .range(..point.revision)
                .next_back()
                .filter(|(_, (last, _))| *last >= point.revision);
            match (life, before, &mut window) {
                (Some((_, (_, by))), Some(before), Some(window)) => {
                    self.live(history, *by, between, point)?;
                    window.sets += 1;
                    window.ranges.push((before.quiet().saturating_add(1), point.revision - 1));
                    wanted.extend(self.count(history, window, point)?);
                }
                _ => wanted.extend(Self::gap(history, before, between, Some(point))),
            }
            if let Some(Shown { version, by, .. }) = point.shown {
                window = Some(Window { version, by, sets: 0, ranges: Vec::new() });
            }
            if point.operation.is_none() {
                let why = point.text(history);
                let ranges = vec![(point.revision, point.revision)];
                wanted.push(Wanted { what: Kind::Set, ranges, count: 1, rule: Rule::Created, why });
            }
            before = Some(point);
        }
        wanted.extend(Self::gap(history, before, absences, None));
        Ok(wanted)
    }

    /// A row was still read at a revision at which the next write was done.
    fn check_quiet(
        &self,
        history: &History<'_>,
        before: Option<&Point>,
        point: &Point,
    ) -> Result<(), Violation> {
        let Some((revision, by)) = before.and_then(Point::last_seen) else { return Ok(()) };
        let is_stale =
            revision > point.revision || revision == point.revision && !mutant::is(Mutant::OffByOne);
        if is_stale { Err(self.violation(Rule::Newest, history, by, &point.text(history))) } else { Ok(()) }
    }

    /// Within the life that the read `by` saw, the key was there before `point`, and still after.
    fn live(
        &self,
        history: &History<'_>,
        by: usize,
        between: &[(u64, usize)],
        point: &Point,
    ) -> Result<(), Violation> {
        if let Some((_, absence)) = between.first() {
            return Err(self.violation(Rule::Newest, history, by, &history.text(*absence)));
        }
        if point.what == Kind::Delete {
            return Err(self.violation(Rule::Created, history, by, &point.text(history)));
        }
        if point.found() == Some(false) {
            return Err(self.violation(Rule::Existed, history, by, &point.text(history)));
        }
        Ok(())
    }

    /// Whether the version of `point` counts the sets of the window; what is missing must have happened.
    fn count(
        &self,
        history: &History<'_>,
        window: &mut Window,
        point: &Point,
    ) -> Result<Option<Wanted>, Violation> {
        let Some(Shown { version, by, .. }) = point.shown else { return Ok(None) };
        if mutant::is(Mutant::VersionUncounted) {
            return Ok(None);
        }
        let other = format!("{} sets are known since {}", window.sets, history.text(window.by));
        let grown = version.checked_sub(window.version);
        let Some(count) = grown.and_then(|grown| grown.checked_sub(window.sets)) else {
            return Err(self.violation(Rule::Version, history, by, &other));
        };
        let why = format!("{}: {}, but only {other}", name(self.key), history.text(by));
        let ranges = std::mem::take(&mut window.ranges);
        Ok((count > 0).then_some(Wanted { what: Kind::Set, ranges, count, rule: Rule::Version, why }))
    }

    /// Outside of lives: what must have happened between two points for the reads between, and the second, to be right.
    fn gap(
        history: &History<'_>,
        before: Option<&Point>,
        between: &[(u64, usize)],
        point: Option<&Point>,
    ) -> Vec<Wanted> {
        let mut wanted = Vec::new();
        let mut low = before.map_or(1, |before| before.quiet().saturating_add(1));
        let mut is_there = before.is_some_and(|before| before.what == Kind::Set);
        let cause = || before.map_or_else(|| "nothing came before".to_owned(), |before| before.text(history));
        let mut absent = None;
        if let (Some((first, absence)), Some((last, latest))) = (between.first(), between.last()) {
            if is_there {
                let why = format!("{}, but {}", history.text(*absence), cause());
                let ranges = vec![(low, *first)];
                wanted.push(Wanted { what: Kind::Delete, ranges, count: 1, rule: Rule::Newest, why });
            }
            is_there = false;
            low = low.max(last.saturating_add(1));
            absent = Some(*latest);
        }
        if let Some(point) = point
            && let Some(found) = point.found()
            && found != is_there
        {
            let what = if found { Kind::Set } else { Kind::Delete };
            let cause = absent.map_or_else(cause, |read| history.text(read));
            let why = format!("{}, but {cause}", point.text(history));
            let rule = if point.existed.is_some() { Rule::Existed } else { Rule::Created };
            wanted.push(Wanted { what, ranges: vec![(low, point.revision - 1)], count: 1, rule, why });
        }
        wanted
    }

    fn violation(&self, rule: Rule, history: &History<'_>, by: usize, other: &str) -> Violation {
        Violation::new(rule, format!("{}: {}, but {other}", name(self.key), history.text(by)))
    }
}
