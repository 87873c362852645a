//! Checks counters: keys to which clients only ever add, and which they read. Each addition is above zero.
//!
//! The sums of acknowledged additions, in the order of their revisions, leave a remainder wherever a value is known: what
//! additions of unknown outcome have added up to there. It never falls, is never below zero, and is never more than
//! those that can have come before. So an addition that was done twice, lost, or done at another revision than its client
//! was told shows. The order in time is judged as in `replay/order.rs`; nothing here is shared with what is judged.

/// One addition to one counter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Addition {
    /// When it was asked.
    pub invoked: u64,
    /// When its client was told what.
    pub ended: u64,
    /// What was added; above zero.
    pub by: i64,
    /// What its client was told.
    pub told: Told,
}

/// What became of an addition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    /// It was done, once, at this revision, and came to this sum.
    Sum(u64, i64),
    /// It was not done and never will be.
    NotApplied,
    /// It may have been done, may yet be, or never.
    Unknown,
}

/// One read of one counter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reading {
    /// When it was asked.
    pub invoked: u64,
    /// When it was answered.
    pub ended: u64,
    /// Whether it must reflect what was told before.
    pub is_linearizable: bool,
    /// The revision of the state that was read.
    pub revision: u64,
    /// What was there: the revision that wrote it, its value, and how often it was written.
    pub found: Option<(u64, i64, u64)>,
}

/// Where a value is known.
#[derive(Clone, Copy, Debug)]
struct Point {
    revision: u64,
    value: i64,
    version: Option<u64>,
}

/// Checks one counter; the first contradiction is told.
pub fn check(additions: &[Addition], readings: &[Reading]) -> Result<(), String> {
    let told = told(additions, readings);
    let floor = |invoked: u64| told.iter().filter(|(ended, _)| *ended < invoked).map(|(_, at)| *at).max();
    let mut done: Vec<(u64, i64)> = Vec::new();
    let mut open: Vec<(u64, i64)> = Vec::new();
    let mut points = Vec::new();
    for addition in additions {
        let floor = floor(addition.invoked).unwrap_or(0);
        match addition.told {
            Told::Sum(revision, _) if revision <= floor => {
                return Err(format!("{addition:?} comes after {floor} was told"));
            }
            Told::Sum(revision, value) => {
                done.push((revision, addition.by));
                points.push(Point { revision, value, version: None });
            }
            Told::Unknown => open.push((floor, addition.by)),
            Told::NotApplied => {}
        }
    }
    done.sort_unstable();
    if let Some(pair) = done.windows(2).find(|pair| pair[0].0 == pair[1].0) {
        return Err(format!("two additions at one revision: {pair:?}"));
    }
    for reading in readings {
        if reading.is_linearizable && floor(reading.invoked).is_some_and(|floor| reading.revision < floor) {
            return Err(format!("{reading:?} misses what was told before"));
        }
        points.extend(point(reading, &done)?);
    }
    remainders(points, &done, &open)
}

/// When which revision was told.
fn told(additions: &[Addition], readings: &[Reading]) -> Vec<(u64, u64)> {
    let sum = |addition: &Addition| match addition.told {
        Told::Sum(revision, _) => Some((addition.ended, revision)),
        Told::NotApplied | Told::Unknown => None,
    };
    let read = readings.iter().map(|reading| (reading.ended, reading.revision));
    additions.iter().filter_map(sum).chain(read).collect()
}

/// What a reading says; nothing may have been added between what it found and the state that it read.
fn point(reading: &Reading, done: &[(u64, i64)]) -> Result<Option<Point>, String> {
    let (written, value, version) = reading.found.unwrap_or((0, 0, 0));
    if written > reading.revision {
        return Err(format!("{reading:?} is of the future"));
    }
    match done.iter().find(|(revision, _)| *revision > written && *revision <= reading.revision) {
        Some(missed) => Err(format!("{reading:?} misses {missed:?}")),
        None => Ok(Some(Point { revision: written, value, version: Some(version) })),
    }
}

/// What is left of each known value once all acknowledged additions up to there are taken off.
fn remainders(mut points: Vec<Point>, done: &[(u64, i64)], open: &[(u64, i64)]) -> Result<(), String> {
    points.sort_unstable_by_key(|point| point.revision);
    let mut before = 0;
    for point in points {
        let up_to = &done[..done.partition_point(|(revision, _)| *revision <= point.revision)];
        let rest = i128::from(point.value) - sum(up_to);
        let possible: Vec<(u64, i64)> =
            open.iter().filter(|(floor, _)| *floor < point.revision).copied().collect();
        if rest < before || rest > sum(&possible) {
            return Err(format!(
                "{point:?} leaves {rest} for additions of unknown outcome: it was {before} before, and at most {} \
                 can have come",
                sum(&possible)
            ));
        }
        if let Some(version) = point.version {
            let more = version.checked_sub(up_to.len() as u64);
            let fits = more.is_some_and(|more| more <= possible.len() as u64 && (more == 0) == (rest == 0));
            if !fits {
                return Err(format!("{point:?} was written {} times as far as is known", up_to.len()));
            }
        }
        before = rest;
    }
    Ok(())
}

fn sum(additions: &[(u64, i64)]) -> i128 {
    additions.iter().map(|(_, by)| i128::from(*by)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn add(moments: (u64, u64), by: i64, told: Told) -> Addition {
        Addition { invoked: moments.0, ended: moments.1, by, told }
    }

    fn read(moments: (u64, u64), revision: u64, found: Option<(u64, i64, u64)>) -> Reading {
        Reading { invoked: moments.0, ended: moments.1, is_linearizable: true, revision, found }
    }

    #[test]
    fn what_is_right_passes() {
        let additions = [
            add((1, 2), 2, Told::Sum(5, 2)),
            add((3, 9), 4, Told::Unknown),
            add((4, 8), 3, Told::Sum(9, 9)),
            add((10, 11), 1, Told::NotApplied),
        ];
        let readings = [
            read((1, 2), 4, None),
            read((3, 4), 6, Some((5, 2, 1))),
            read((5, 6), 8, Some((7, 6, 2))),
            read((12, 13), 20, Some((9, 9, 3))),
        ];
        assert_eq!(check(&additions, &readings), Ok(()));
    }

    #[test]
    fn each_way_to_be_wrong_is_seen() {
        let first = || add((1, 2), 2, Told::Sum(5, 2));
        let rejects = |additions: &[Addition], readings: &[Reading]| {
            assert!(check(additions, readings).is_err(), "{additions:?} {readings:?}");
        };
        // Done twice, and lost.
        rejects(&[first(), add((3, 4), 3, Told::Sum(9, 8))], &[]);
        rejects(&[first(), add((3, 4), 3, Told::Sum(9, 3))], &[]);
        rejects(&[first()], &[read((3, 4), 9, Some((5, 4, 1)))]);
        rejects(&[first()], &[read((3, 4), 9, None)]);
        // What was refused shows; more than was asked shows; what was asked later shows.
        rejects(&[first(), add((3, 4), 3, Told::NotApplied)], &[read((5, 6), 9, Some((7, 5, 2)))]);
        rejects(&[first(), add((3, 4), 3, Told::Unknown)], &[read((5, 6), 9, Some((8, 8, 3)))]);
        rejects(&[first(), add((20, 21), 3, Told::Unknown)], &[read((5, 6), 9, Some((8, 5, 2)))]);
        // What was there goes away again.
        let unknown = || add((3, 4), 3, Told::Unknown);
        rejects(&[first(), unknown(), add((8, 9), 1, Told::Sum(12, 3))], &[read((5, 6), 9, Some((8, 5, 2)))]);
        // Order in time, one revision, the future, the version.
        rejects(&[first(), add((3, 4), 3, Told::Sum(4, 3))], &[]);
        rejects(&[first(), add((1, 4), 3, Told::Sum(5, 5))], &[]);
        rejects(&[first()], &[read((3, 4), 4, None)]);
        rejects(&[first()], &[read((3, 4), 9, Some((10, 2, 1)))]);
        rejects(&[first()], &[read((3, 4), 9, Some((5, 2, 2)))]);
        rejects(&[first(), unknown()], &[read((5, 6), 9, Some((5, 2, 2)))]);
    }
}
