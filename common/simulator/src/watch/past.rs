//! The past: what a server shows of an earlier revision, of what was there some time ago, of all that one key held; and
//! what it refuses to show. It must show what is kept and nothing else, and say rightly how far that goes back.

use protocol::{
    Consistency, Refused, Scan,
    history::Version,
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
        let all = self.all_versions(scan, moment);
        let end = (sent + shown.len()).min(all.len());
        assert_eq!(
            shown,
            &all[sent.min(end)..end],
            "VIOLATION s{me} lists after {sent} of {scan:?} at {moment:?}"
        );
    }

    /// All that a scan of versions is to show.
    pub(super) fn all_versions(&self, scan: &Scan, moment: Moment) -> Vec<Version> {
        let newest = scan.at.unwrap_or(moment.revision);
        let floor = self.model.floor(moment.revision);
        let most = scan.limit.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX));
        let mut all = Vec::new();
        for (revision, found) in self.model.versions(&scan.from).rev() {
            if revision > moment.revision {
                continue;
            }
            if all.len() == most {
                break;
            }
            if revision <= floor && found.is_none() {
                break;
            }
            if revision <= newest && scan.below.is_none_or(|below| revision < below) {
                let moment = (revision > floor).then(|| {
                    let command = self.committed_at(revision);
                    let age_ms = moment.clock_ms.saturating_sub(self.stamp_of(revision));
                    protocol::history::Moment {
                        age_ms,
                        wall_ms: command.map_or(0, |command| command.wall_ms),
                    }
                });
                all.push(Version { revision, found: found.cloned(), moment });
            }
            if revision <= floor {
                break;
            }
        }
        all
    }

    fn committed_at(&self, revision: u64) -> Option<&protocol::Command> {
        let at = usize::try_from(revision.checked_sub(1)?).ok()?;
        self.committed.get(at)?.command.as_ref()
    }

    fn stamp_of(&self, revision: u64) -> u64 {
        self.committed_at(revision).map_or(0, |command| command.stamp_ms)
    }
}

/// Whether rows of one key are wanted.
fn is_one(scan: &Scan) -> bool {
    scan.to.as_deref() == Some(&*successor(&scan.from)) && scan.want != Want::Versions
}
