//! The past: what a server shows of an earlier revision, of what was there some time ago, of all that one key held; and
//! what it refuses to show. It must show what is kept and nothing else, and say rightly how far that goes back.

use protocol::{
    Consistency, Operation, Refused, Scan,
    history::Version,
    response::Found,
    scan::{Want, successor},
};

use super::{Watch, model::Verdict};

/// The view that a scan is served from.
#[derive(Clone, Copy, Debug, Default)]
pub struct Moment {
    /// Its revision.
    pub revision: u64,
    /// The replicated clock when it was taken.
    pub clock_ms: u64,
}

impl Watch {
    /// Server `me` shows what was there so long ago, and says which revision that was.
    ///
    /// # Panics
    /// When it was another.
    pub(super) fn was_then(&self, me: usize, age_ms: u64, moment: Moment, revision: u64) {
        let then = moment.clock_ms.saturating_sub(age_ms);
        // Stamps do not fall, so that the changes on both sides of the revision tell of all.
        let stamp = |index: &u64| self.stamp_of(*index);
        let before = (1..=revision).rev().find(|index| self.is_change(*index));
        let after = (revision + 1..=moment.revision).find(|index| self.is_change(*index));
        let right =
            before.as_ref().map_or(0, stamp) <= then && after.as_ref().is_none_or(|it| stamp(it) > then);
        assert!(right, "VIOLATION s{me} takes {revision} for that of {then} ms: {before:?}, {after:?}");
    }

    fn is_change(&self, index: u64) -> bool {
        let at = usize::try_from(index).ok().and_then(|index| index.checked_sub(1));
        let verdict = at.and_then(|at| self.committed.get(at)?.verdict.as_ref());
        matches!(verdict, Some(Verdict::Done(_, changed)) if !changed.is_empty())
    }

    /// Server `me` does not show what a scan asks for.
    ///
    /// # Panics
    /// When it could, or says wrongly how far its past goes back.
    pub fn past_refused(&self, me: usize, scan: &Scan, moment: Moment, refused: &Refused) {
        let (newest, floor) = (moment.revision, self.model.floor(moment.revision));
        match refused {
            Refused::NotKept { oldest, .. } => {
                assert_eq!(*oldest, floor, "VIOLATION s{me} says how far the past goes back at {newest}");
                let stamp = self.stamp_of(floor);
                let right = match (scan.at, scan.age_ms) {
                    (Some(at), _) => at < floor,
                    (None, Some(age_ms)) => floor > 0 && moment.clock_ms.saturating_sub(age_ms) < stamp,
                    (None, None) => false,
                };
                assert!(right, "VIOLATION s{me} does not show what is kept from {floor} on: {scan:?}");
                if let (Some(at), true) = (scan.at, is_one(scan)) {
                    let known = self.model.at(&scan.from, at);
                    let since = known.is_some_and(|row| self.model.at(&scan.from, floor) == Some(row));
                    assert!(!since, "VIOLATION s{me} does not show a key that is as it was at {at}");
                }
            }
            Refused::Invalid(_) | Refused::Unavailable(_) => {
                let stale = matches!(refused, Refused::Unavailable(_));
                assert_eq!(stale, scan.consistency == Consistency::Stale, "VIOLATION s{me}: {refused:?}");
                assert!(scan.at.is_some_and(|at| at > newest), "VIOLATION s{me} has {newest}: {scan:?}");
            }
            other => panic!("VIOLATION s{me} refuses {scan:?} with {other:?}"),
        }
    }

    /// What is shown of an earlier revision must be kept, unless it is of one key that has not changed since.
    pub(super) fn is_kept(&self, me: usize, scan: &Scan, moment: Moment, revision: u64) {
        let floor = self.model.floor(moment.revision);
        let kept = revision >= floor || is_one(scan) && self.model.at(&scan.from, revision).is_some();
        assert!(kept, "VIOLATION s{me} shows {revision}, kept is what came from {floor} on: {scan:?}");
    }

    /// Versions of a key leave server `me`, after so many.
    ///
    /// # Panics
    /// When they are not those that follow.
    pub fn versions(&self, me: usize, scan: &Scan, sent: usize, moment: Moment, shown: &[Version]) {
        let next = self.wanted(scan, moment).skip(sent).take(shown.len());
        let next: Vec<_> = next.map(|(revision, found)| self.version(moment, revision, found)).collect();
        let bare = |version: &Version| Version {
            found: version.found.as_ref().map(|found| self.without_time_at(me, found, moment)),
            ..version.clone()
        };
        let shown: Vec<_> = shown.iter().map(bare).collect();
        assert_eq!(shown, next, "VIOLATION s{me} lists after {sent} of {scan:?} at {moment:?}");
    }

    /// What a key held, newest first, as far as a scan of versions is to show it.
    pub(super) fn wanted(&self, scan: &Scan, moment: Moment) -> impl Iterator<Item = (u64, Option<&Found>)> {
        let (newest, below) = (scan.at.unwrap_or(moment.revision), scan.below);
        let floor = self.model.floor(moment.revision);
        let most = scan.limit.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX));
        let there = self.model.versions(&scan.from).rev();
        let there = there.filter(move |(revision, _)| *revision <= moment.revision);
        // Of what is from before the floor there is one row, which was there when it came.
        let mut ended = false;
        let kept = there.map_while(move |(revision, found)| {
            let known = !ended && (revision > floor || found.is_some());
            ended = revision <= floor;
            known.then_some((revision, found))
        });
        let shown = move |revision| revision <= newest && below.is_none_or(|below| revision < below);
        kept.filter(move |(revision, _)| shown(*revision)).take(most)
    }

    fn version(&self, moment: Moment, revision: u64, found: Option<&Found>) -> Version {
        let when = |moment: Moment| protocol::history::Moment {
            age_ms: moment.clock_ms.saturating_sub(self.stamp_of(revision)),
            wall_ms: self.committed_at(revision).map_or(0, |command| command.wall_ms),
        };
        let kept = revision > self.model.floor(moment.revision);
        let ends_leases = |command: &protocol::Command| matches!(command.operation, Operation::Expire { .. });
        let expired = kept && self.committed_at(revision).is_some_and(ends_leases);
        Version { revision, found: found.cloned(), moment: kept.then(|| when(moment)), expired }
    }

    pub(super) fn committed_at(&self, revision: u64) -> Option<&protocol::Command> {
        let at = usize::try_from(revision.checked_sub(1)?).ok()?;
        self.committed.get(at)?.command.as_ref()
    }

    /// The newest stamp of what is committed up to here.
    pub(super) fn stamp_up_to(&self, revision: u64) -> u64 {
        let to = usize::try_from(revision).unwrap_or(usize::MAX).min(self.committed.len());
        let newest = self.committed[..to].iter().rev().find_map(|committed| committed.command.as_ref());
        newest.map_or(0, |command| command.stamp_ms)
    }

    fn stamp_of(&self, revision: u64) -> u64 {
        self.committed_at(revision).map_or(0, |command| command.stamp_ms)
    }
}

/// Whether rows of one key are wanted.
fn is_one(scan: &Scan) -> bool {
    scan.to.as_deref() == Some(&*successor(&scan.from)) && scan.want != Want::Versions
}
