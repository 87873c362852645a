//! What a check keeps from run to run: how often in a row it was not well, and when it was well last.

use std::{fs, io, path::Path};

use super::verdict::{Status, Verdict, last_success};
use crate::files;

/// Counts this run and gives a failure that is not old enough yet as well: "1 of 3". A count that cannot be kept
/// forgives nothing, and says so.
pub(super) fn soften(
    verdict: &mut Verdict,
    needed: u32,
    folder: Option<&Path>,
    identity: &str,
) -> Option<String> {
    let Some(folder) = folder else {
        return Some("--for counts nothing: neither XDG_CACHE_HOME nor HOME is set".to_owned());
    };
    let path = folder.join("checks").join(format!("{:016x}", fingerprint(identity)));
    let before = fs::read_to_string(&path).ok().and_then(|text| text.trim().parse::<u32>().ok()).unwrap_or(0);
    let streak = if verdict.status == Status::Ok { 0 } else { before.saturating_add(1) };
    if streak == 0 && before == 0 {
        return None;
    }
    if let Err(error) = keep(&path, streak) {
        return Some(format!("--for counts nothing: {}: {error}", path.display()));
    }
    if streak > 0 && streak < needed {
        verdict.summary = format!("{streak} of {needed}: {} {}", verdict.status.word(), verdict.summary);
        verdict.status = Status::Ok;
    }
    None
}

fn keep(path: &Path, streak: u32) -> io::Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    files::replace(path, format!("{streak}\n").as_bytes())
}

/// FNV-1a: names a file, keeps no secret.
fn fingerprint(text: &str) -> u64 {
    text.bytes()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3))
}

/// Writes the file of the node exporter's textfile collector. The time of the last success is carried over from the
/// file that is there, so that it outlives any number of failures.
pub(super) fn publish(verdict: &Verdict, path: &Path, now: f64) -> io::Result<()> {
    let earlier = || last_success(&fs::read_to_string(path).ok()?, verdict.check);
    let success = if verdict.status == Status::Ok { Some(now) } else { earlier() };
    files::replace(path, verdict.prometheus(now, success).as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(status: Status) -> Verdict {
        Verdict { status, ..Verdict::unknown("live", "n1 is silent") }
    }

    fn softened(status: Status, folder: &Path) -> (Status, String) {
        let mut verdict = verdict(status);
        assert_eq!(soften(&mut verdict, 3, Some(folder), "id"), None);
        (verdict.status, verdict.summary)
    }

    #[test]
    fn only_the_third_failure_in_a_row_counts() {
        let home = tempfile::tempdir().unwrap();
        let run = |status| softened(status, home.path()).0;
        assert_eq!(softened(Status::Critical, home.path()).1, "1 of 3: CRITICAL n1 is silent");
        assert_eq!((run(Status::Warning), run(Status::Critical)), (Status::Ok, Status::Critical));
        assert_eq!(run(Status::Warning), Status::Warning, "and every one after it");
        assert_eq!((run(Status::Ok), run(Status::Critical)), (Status::Ok, Status::Ok), "success starts anew");
        let mut other = verdict(Status::Critical);
        soften(&mut other, 2, Some(home.path()), "other");
        assert_eq!(other.status, Status::Ok, "another check has a count of its own");
    }

    #[test]
    fn what_cannot_be_counted_is_not_forgiven() {
        let home = tempfile::tempdir().unwrap();
        let file = home.path().join("file");
        fs::write(&file, "").unwrap();
        for folder in [None, Some(file.as_path())] {
            let mut verdict = verdict(Status::Critical);
            assert!(soften(&mut verdict, 3, folder, "id").is_some());
            assert_eq!(verdict.status, Status::Critical);
        }
    }

    #[test]
    fn the_last_success_outlives_failures() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("kv.prom");
        let last = || last_success(&fs::read_to_string(&path).unwrap(), "live");
        publish(&verdict(Status::Unknown), &path, 10.0).unwrap();
        assert_eq!(last(), None);
        publish(&verdict(Status::Ok), &path, 20.5).unwrap();
        publish(&verdict(Status::Critical), &path, 30.0).unwrap();
        publish(&verdict(Status::Critical), &path, 40.0).unwrap();
        assert_eq!(last(), Some(20.5));
        assert!(
            fs::read_to_string(&path).unwrap().contains("last_run_timestamp_seconds{check=\"live\"} 40\n")
        );
    }
}
