//! What the system says of this process, from `/proc/self`. Where it says nothing, nothing is shown.

use std::{fs, time::Duration};

/// The unit of processor times in `/proc`: fixed by Linux for user space, whatever the kernel's own clock.
const TICKS_PER_SECOND: u64 = 100;

/// Resident and virtual memory in bytes.
pub(super) fn memory() -> Option<(u64, u64)> {
    memory_of(&fs::read_to_string("/proc/self/status").ok()?)
}

fn memory_of(status: &str) -> Option<(u64, u64)> {
    let kib = |name: &str| -> Option<u64> {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_whitespace().next()?.parse::<u64>().ok()?.checked_mul(1024)
    };
    Some((kib("VmRSS:")?, kib("VmSize:")?))
}

/// Processor time of all threads.
pub(super) fn cpu() -> Option<Duration> {
    cpu_of(&fs::read_to_string("/proc/self/stat").ok()?)
}

fn cpu_of(stat: &str) -> Option<Duration> {
    // The name in parentheses may hold anything; after it come the numbered fields, of which it was the second.
    let (_, fields) = stat.rsplit_once(')')?;
    let mut times = fields.split_whitespace().skip(11).take(2).map(str::parse::<u64>);
    let ticks = times.next()?.ok()?.checked_add(times.next()?.ok()?)?;
    Some(Duration::from_millis(ticks.checked_mul(1000 / TICKS_PER_SECOND)?))
}

/// Open files, and how many may be open.
pub(super) fn files() -> Option<(u64, u64)> {
    let open = fs::read_dir("/proc/self/fd").ok()?.count();
    Some((u64::try_from(open).ok()?, most_files_of(&fs::read_to_string("/proc/self/limits").ok()?)?))
}

fn most_files_of(limits: &str) -> Option<u64> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_linux_writes_is_read() {
        assert_eq!(
            memory_of("Name:\tkvd\nVmSize:\t   2000 kB\nVmRSS:\t   1000 kB\n"),
            Some((1_024_000, 2_048_000))
        );
        let stat = "7 (a) b (c) S 1 7 7 0 -1 4194560 100 0 0 0 250 50 0 0 20 0 9 0 12345 1 2";
        assert_eq!(cpu_of(stat), Some(Duration::from_secs(3)));
        assert_eq!(
            most_files_of("Max cpu time  unlimited\nMax open files            1024    4096   files\n"),
            Some(1024)
        );
    }

    #[test]
    fn anything_else_is_nothing() {
        for text in
            ["", "VmRSS:", "VmRSS: x kB\nVmSize: 1 kB", ")", "7 (x) S 1 2", "Max open files unlimited"]
        {
            assert_eq!((memory_of(text), cpu_of(text), most_files_of(text)), (None, None, None), "{text}");
        }
    }

    #[test]
    fn this_process_has_memory_and_files() {
        assert!(memory().is_some_and(|(resident, size)| 0 < resident && resident <= size));
        assert!(files().is_some_and(|(open, most)| 0 < open && open <= most));
        assert!(cpu().is_some());
    }
}
