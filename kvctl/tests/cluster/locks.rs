//! `lock` and `elect`: one holder at a time through deaths of holders and of nodes, and a command that never outlives what
//! it holds.

use std::{
    io::{BufRead as _, BufReader, Read},
    os::unix::process::ExitStatusExt as _,
    process::{Child, ChildStdin, Command, Stdio},
    sync::mpsc::{Receiver, RecvTimeoutError, channel},
    time::{Duration, Instant},
};

use crate::trial::Trial;

/// Longer than anything here is waited for, however busy the machine.
const PATIENCE: Duration = Duration::from_mins(1);

/// A kvctl that runs, with a command whose standard streams are at hand.
struct Running {
    child: Child,
    input: Option<ChildStdin>,
    out: Receiver<String>,
    err: Receiver<String>,
}

/// The lines of a stream as they come. It is closed when all who can write to it are gone.
fn lines(stream: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, lines) = channel();
    std::thread::spawn(move || {
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    lines
}

/// The next line; nothing where the stream is closed.
#[track_caller]
fn next(lines: &Receiver<String>) -> Option<String> {
    match lines.recv_timeout(PATIENCE) {
        Ok(line) => Some(line),
        Err(RecvTimeoutError::Disconnected) => None,
        Err(RecvTimeoutError::Timeout) => panic!("nothing comes, and it is not closed"),
    }
}

impl Running {
    fn start(trial: &Trial, words: &[&str], script: &str) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_kvctl"));
        command.env_clear().env("HOME", trial.home()).env("KVCTL_CONTEXT", trial.cluster.context());
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.args(words).args(["--", "sh", "-c", script]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let (out, err) = (lines(child.stdout.take().unwrap()), lines(child.stderr.take().unwrap()));
        Self { input: child.stdin.take(), child, out, err }
    }

    /// One that says `held` and its fence, and ends when its input does.
    fn hold(trial: &Trial, words: &[&str]) -> Self {
        Self::start(trial, words, "echo held $KV_FENCE; cat > /dev/null")
    }

    #[track_caller]
    fn line(&mut self) -> String {
        next(&self.out).unwrap_or_default()
    }

    #[track_caller]
    fn fence(&mut self) -> u64 {
        let line = self.line();
        line.strip_prefix("held ").and_then(|fence| fence.parse().ok()).unwrap_or_else(|| panic!("{line:?}"))
    }

    fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([name, &self.child.id().to_string()]).status().unwrap();
        assert!(sent.success());
    }

    /// With what it ends, and what it said on stderr.
    #[track_caller]
    fn ended(mut self) -> (Option<i32>, String) {
        drop(self.input.take());
        let mut err = String::new();
        while let Some(line) = next(&self.err) {
            err = format!("{err}{line}\n");
        }
        let began = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return (status.code().or(status.signal().map(|signal| -signal)), err);
            }
            assert!(began.elapsed() < PATIENCE, "it says nothing more and does not end: {err}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_command_runs_with_a_fence_and_its_status_is_passed_on() {
    let trial = Trial::start(1);
    let run = |script: &str| trial.kvctl(&["lock", "job", "--", "sh", "-c", script]);
    let first = run("echo $KV_KEY $KV_FENCE; exit 7");
    assert!(first.code == Some(7) && first.err.contains("acquired, fence "), "{first:?}");
    assert_eq!(trial.kvctl(&["exists", "job"]).code, Some(1), "it is released");
    let second = trial.kvctl(&["lock", "-q", "job", "--", "sh", "-c", "echo $KV_KEY $KV_FENCE"]);
    let fence = |text: String| text.trim_end().strip_prefix("job ").unwrap().parse::<u64>().unwrap();
    assert_eq!((second.code, second.err.as_str()), (Some(0), ""));
    assert!(fence(second.text()) > fence(first.text()), "fences grow");
    assert_eq!(run("kill -9 $$").code, Some(137));
    assert_eq!(trial.kvctl(&["lock", "job", "--", "/no/such/program"]).code, Some(127));
    assert_eq!(trial.kvctl(&["lock", "job", "--", "/"]).code, Some(126));
    let nowhere = ["-e", "127.0.0.1:1", "-t", "300ms", "lock", "job", "--", "true"];
    assert_eq!(trial.kvctl(&nowhere).code, Some(125));
    assert_eq!(trial.kvctl(&["lock", "job"]).code, Some(2), "nothing to run");
    let shell = trial.kvshell(&["-x", "lock job -- true"], "");
    assert!(shell.code == Some(125) && shell.err.contains("kvctl lock"), "{shell:?}");
}

#[test]
fn of_two_one_waits_and_is_told_for_whom() {
    let trial = Trial::start(3);
    let mut first = Running::hold(&trial, &["lock", "job"]);
    let fence = first.fence();
    let over = trial.kvctl(&["lock", "job", "--wait", "300ms", "--", "true"]);
    assert_eq!(over.code, Some(124), "{over:?}");
    assert!(
        over.err.contains(&format!("(pid {})", first.child.id())) && over.err.contains("left on lease"),
        "{over:?}"
    );
    let mut second = Running::hold(&trial, &["lock", "job", "--wait", "20s"]);
    first.input = None;
    let next = second.fence();
    assert!(next > fence);
    assert_eq!(first.ended().0, Some(0));
    // Somebody takes it away: the command is ended, for another may have it now.
    trial.kvctl(&["del", "job"]);
    let mut third = Running::hold(&trial, &["lock", "job", "--wait", "20s"]);
    assert!(third.fence() > next);
    assert_eq!(second.line(), "", "its output is closed: it is gone");
    let (code, err) = second.ended();
    assert_eq!(code, Some(122), "{err}");
    assert_eq!(third.ended().0, Some(0));
}

#[test]
fn many_run_one_after_the_other() {
    let trial = Trial::start(3);
    let place = trial.home().join("one");
    let script = format!("mkdir {0} || exit 99; sleep 0.05; rmdir {0}", place.display());
    let all: Vec<Running> =
        (0..8).map(|_| Running::start(&trial, &["lock", "job", "--wait", "60s"], &script)).collect();
    for one in all {
        let (code, err) = one.ended();
        assert_eq!(code, Some(0), "{err}");
    }
}

#[test]
fn after_kill_9_of_its_holder_the_next_has_it_when_its_time_is_over() {
    let trial = Trial::start(3);
    let mut first = Running::hold(&trial, &["lock", "job", "--ttl", "2s"]);
    let fence = first.fence();
    let mut second = Running::hold(&trial, &["lock", "job", "--wait", "30s"]);
    first.child.kill().unwrap();
    assert!(second.fence() > fence);
    assert_eq!(second.ended().0, Some(0));
    first.input = None;
    first.child.wait().unwrap();
}

#[test]
fn a_lock_is_kept_while_leaders_die() {
    let mut trial = Trial::start(3);
    let mut holder = Running::hold(&trial, &["lock", "job", "--ttl", "4s"]);
    let fence = holder.fence();
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(9) {
        let leader = trial.leader();
        trial.cluster.kill(leader);
        trial.leader();
        trial.cluster.restart(leader);
        let (_, read) = trial.json(&["get", "job", "-t", "15s"]);
        assert_eq!(read["mod_rev"], fence, "the same write holds it: {read}");
    }
    assert_eq!(holder.ended().0, Some(0));
}

#[test]
fn a_command_ends_before_its_lease_where_nobody_can_be_asked() {
    let trial = Trial::start(3);
    // Long enough for the times in it to be told apart on a busy machine.
    let ttl = Duration::from_secs(12);
    let polite = "trap 'echo told; exit 0' TERM; echo held; while :; do sleep 0.05; done";
    let deaf = "trap '' TERM; echo held; while :; do sleep 0.05; done";
    let mut both = [polite, deaf].map(|script| {
        let name = if script == polite { "polite" } else { "deaf" };
        let mut running = Running::start(&trial, &["lock", name, "--ttl", "12s"], script);
        assert_eq!(running.line(), "held");
        running
    });
    trial.pause(&[1, 2, 3]);
    let paused = Instant::now();
    assert_eq!(both[0].line(), "told");
    assert_eq!(both[1].line(), "", "its output is closed: it is gone");
    // No renewal is younger than the pause.
    assert!(paused.elapsed() < ttl, "{:?}", paused.elapsed());
    trial.resume(&[1, 2, 3]);
    for running in both {
        let (code, err) = running.ended();
        assert!(code == Some(122) && err.contains("KV-1232"), "{code:?}: {err}");
    }
}

#[test]
fn signals_are_passed_on() {
    let trial = Trial::start(1);
    for (name, code) in [("-TERM", 5), ("-INT", 6), ("-HUP", 7)] {
        let script = format!("trap 'exit {code}' {}; echo held; while :; do sleep 0.05; done", &name[1..]);
        let mut running = Running::start(&trial, &["lock", "job"], &script);
        assert_eq!(running.line(), "held");
        running.signal(name);
        assert_eq!(running.ended().0, Some(code), "{name}");
        assert_eq!(trial.kvctl(&["exists", "job"]).code, Some(1), "it is released");
    }
    // Who waits ends by it.
    let mut holder = Running::hold(&trial, &["lock", "job"]);
    holder.fence();
    let waiter = Running::hold(&trial, &["lock", "job"]);
    let waiting = next(&waiter.err).unwrap();
    assert!(waiting.starts_with("waiting: held by "), "{waiting}");
    waiter.signal("-TERM");
    assert_eq!(waiter.ended().0, Some(143));
    assert_eq!(holder.ended().0, Some(0));
}

#[test]
fn who_cannot_be_told_whether_it_is_held_ends_by_a_signal_too() {
    let trial = Trial::start(3);
    let followers = trial.followers();
    trial.pause(&followers);
    let waiter = Running::hold(&trial, &["lock", "job", "-t", "500ms", "--wait", "50s"]);
    let waiting = next(&waiter.err).unwrap();
    assert!(waiting.starts_with("waiting: outcome unknown"), "{waiting}");
    let began = Instant::now();
    waiter.signal("-TERM");
    assert_eq!(waiter.ended().0, Some(143));
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
    trial.resume(&followers);
}

#[test]
fn what_the_command_leaves_behind_is_ended_with_it() {
    let trial = Trial::start(1);
    let deaf = "trap '' TERM; echo deaf; n=0; while [ $n -lt 1200 ]; do sleep 0.1; n=$((n+1)); done";
    let script = format!("sh -c \"{}\" & wait", deaf.replace('$', "\\$"));
    let mut holder = Running::start(&trial, &["lock", "job", "--ttl", "4s"], &script);
    assert_eq!(holder.line(), "deaf");
    trial.kvctl(&["del", "job"]);
    assert_eq!(holder.line(), "", "its output is closed: all who had it are gone");
    let (code, err) = holder.ended();
    assert!(code == Some(122) && err.contains("somebody else may hold it already"), "{code:?}: {err}");
}

#[test]
fn the_elected_runs_its_command_and_others_see_who_leads() {
    let trial = Trial::start(3);
    let mut first = Running::hold(&trial, &["elect", "boss"]);
    let fence = first.fence();
    let mut second = Running::hold(&trial, &["elect", "boss", "--ttl", "5s"]);
    let seen = trial.kvctl(&["get", "boss"]).text();
    assert!(seen.contains(&format!("(pid {})", first.child.id())), "{seen}");
    let mut observer = Running::start(&trial, &["elect", "boss", "--observe"], "cat; echo; echo $KV_REV");
    assert_eq!((observer.line(), observer.line()), (seen, fence.to_string()));
    first.input = None;
    let next = second.fence();
    assert!(next > fence);
    assert_eq!(first.ended().0, Some(0));
    let told: Vec<String> = (0..4).map(|_| observer.line()).collect();
    assert_eq!(told.last(), Some(&next.to_string()), "gone, and then the next: {told:?}");
    observer.child.kill().unwrap();
    observer.child.wait().unwrap();
    assert_eq!(second.ended().0, Some(0));
}
