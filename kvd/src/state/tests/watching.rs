//! Changes told in their order beside a model that keeps every state, and the sentences of `state/changes.rs`.

use protocol::{
    Watch,
    watch::{Event, Events},
};

use super::{past::window, *};
use crate::state::{
    changes::{FrameLimits, Place, StretchLimits},
    view::View,
};

type Rows = BTreeMap<Vec<u8>, Found>;

const ALL: StretchLimits = few(usize::MAX);
const TINY: FrameLimits = FrameLimits { bytes: 200, events: 2, event: 100_000, previous: 100_000 };

const fn few(looked: usize) -> StretchLimits {
    StretchLimits { looked, taken: usize::MAX }
}

/// All that a watch is told, in stretches of so many changes and frames of these limits, with what must hold of each.
fn told(view: &View, watch: &Watch, after: u64, most: StretchLimits, limits: &FrameLimits) -> Vec<Event> {
    let (mut place, mut all) = (Place::after(after), Vec::<Event>::new());
    let mut part = None;
    loop {
        let stretch = view.changes_after(place.after, most, |key| watch.covers(key)).unwrap();
        let (Events { events, through, unfinished }, next) = stretch.frame(watch, place, limits).unwrap();
        assert_eq!(stretch.concerns(watch, place), !events.is_empty());
        assert!(through == next.after && through >= place.after, "nothing is taken back");
        assert!(events.len() <= limits.events);
        if let Some(revision) = part {
            assert_eq!(
                events.first().map(|event| event.revision),
                Some(revision),
                "it goes on where it broke off"
            );
        }
        let last = events.last().map(|event| event.revision);
        assert!(unfinished != last.is_none_or(|last| last <= through), "only what is unfinished is beyond");
        part = last.filter(|_| unfinished);
        let stuck = (place, events.len()) == (next, 0);
        all.extend(events);
        place = next;
        if place.after == view.revision() && !unfinished {
            return all;
        }
        assert!(!stuck, "it gets on");
    }
}

/// What happened, by the states that there were.
fn expected(states: &[(u64, Rows)], watch: &Watch, after: u64) -> Vec<Event> {
    let mut events = Vec::new();
    for pair in states.windows(2) {
        let ((_, before), (revision, rows)) = (&pair[0], &pair[1]);
        let keys: std::collections::BTreeSet<_> = before.keys().chain(rows.keys()).collect();
        for key in keys {
            let (was, is) = (before.get(key), rows.get(key));
            if *revision > after
                && watch.covers(key)
                && was.map(|row| row.revision) != is.map(|row| row.revision)
            {
                events.push(Event {
                    key: key.clone(),
                    revision: *revision,
                    found: is.cloned(),
                    previous: was.filter(|_| watch.previous).cloned(),
                    previous_left_out: false,
                    wall_ms: 0,
                    expired: false,
                });
            }
        }
    }
    events
}

/// Compares what several watches are told from several places.
pub(super) fn check(state: &State, states: &[(u64, Rows)], floor: u64) {
    let applied = state.applied().index.0;
    assert_eq!(state.view().oldest(), floor);
    for after in [floor, floor.midpoint(applied), applied.saturating_sub(1), applied] {
        if after < floor {
            continue;
        }
        for watch in [
            Watch::default(),
            Watch { previous: true, ..Watch::default() },
            Watch::key(b"b"),
            Watch { previous: true, ..Watch::range(b"b", b"e") },
        ] {
            let want = expected(states, &watch, after);
            for (most, limits) in
                [(ALL, FrameLimits::default()), (few(1), TINY), (StretchLimits { taken: 2, ..few(9) }, TINY)]
            {
                assert_eq!(
                    told(&state.view(), &watch, after, most, &limits),
                    want,
                    "{watch:?} after {after}"
                );
            }
        }
    }
}

fn revisions(bench: &Bench, watch: &Watch, after: u64) -> Vec<(String, u64)> {
    let events = told(&bench.state.view(), watch, after, ALL, &FrameLimits::default());
    events.into_iter().map(|event| (String::from_utf8(event.key).unwrap(), event.revision)).collect()
}

fn transaction(keys: &[&str], value: usize) -> Operation {
    let set = |key: &&str| protocol::operation::Action::Set { key: (*key).into(), value: vec![b'v'; value] };
    Operation::Transaction(protocol::Transaction {
        then: keys.iter().map(set).collect(),
        ..protocol::Transaction::default()
    })
}

#[test]
fn a_watch_is_told_what_lies_in_all_layers_and_after_a_restart() {
    let mut bench = Bench::new();
    bench.set_all(&["a", "b"], "1");
    bench.flush();
    bench.write(set("a", "2"));
    let flush = bench.state.begin_flush(0).unwrap();
    bench.write(delete("a"));
    let watch = Watch { previous: true, ..Watch::key(b"a") };
    let values = |bench: &Bench| {
        let value = |found: Option<Found>| found.map(|found| String::from_utf8(found.value).unwrap());
        let events = told(&bench.state.view(), &watch, 0, ALL, &FrameLimits::default());
        let seen =
            events.into_iter().map(|event| (event.revision, value(event.previous), value(event.found)));
        seen.collect::<Vec<_>>()
    };
    let text = |text: &str| Some(text.to_owned());
    let want = [(1, None, text("1")), (3, text("1"), text("2")), (4, text("2"), None)];
    assert_eq!(values(&bench), want);
    bench.state.finish_flush(flush.run().unwrap());
    assert_eq!(values(&bench), want);
    bench.flush();
    bench.reopen();
    assert_eq!(values(&bench), want);
    assert_eq!(revisions(&bench, &watch, 3), [("a".to_owned(), 4)]);
}

#[test]
fn a_revision_that_fits_into_no_frame_is_told_in_parts_that_say_so() {
    let mut bench = Bench::new();
    bench.write(set("a", "0"));
    bench.decide(transaction(&["a", "b", "c"], 60));
    bench.write(set("d", "1"));
    let view = bench.state.view();
    let stretch = view.changes_after(0, ALL, |_| true).unwrap();
    let limits = FrameLimits { bytes: 60, events: 2, ..TINY };
    let (mut place, mut frames) = (Place::default(), Vec::new());
    for _ in 0..5 {
        let (events, next) = stretch.frame(&Watch::default(), place, &limits).unwrap();
        frames.push((events.events.len(), events.through, events.unfinished));
        place = next;
    }
    let want = [(1, 1, false), (1, 1, true), (1, 1, true), (1, 2, false), (1, 3, false)];
    assert_eq!(frames, want);
    // Two revisions in one frame, of which the second goes on.
    let (events, _) = stretch.frame(&Watch::default(), Place::default(), &TINY).unwrap();
    assert_eq!((events.events.len(), events.through, events.unfinished), (2, 1, true));
}

#[test]
fn a_stretch_is_of_whole_revisions_and_bounded() {
    let mut bench = Bench::new();
    bench.set_all(&["a", "b"], "1");
    bench.decide(transaction(&["c", "d", "e"], 1));
    bench.set_all(&["f"], "1");
    let view = bench.state.view();
    let through = |after, looked| view.changes_after(after, few(looked), |_| true).unwrap().through();
    assert_eq!([through(0, 1), through(0, 2), through(0, 3), through(0, 5)], [1, 2, 3, 3]);
    assert_eq!((through(0, 6), through(3, 1), through(4, 1)), (4, 4, 4));
    // What nobody wants counts as looked at.
    assert_eq!(view.changes_after(0, few(2), |_| false).unwrap().through(), 2);
    // And what is wanted is bounded for itself.
    let taken = |taken| {
        let limits = StretchLimits { taken, ..ALL };
        view.changes_after(0, limits, |key| key > b"b".as_slice()).unwrap().through()
    };
    assert_eq!([taken(1), taken(3), taken(4)], [3, 3, 4]);
}

#[test]
fn what_was_replaced_is_left_out_where_it_does_not_fit_and_the_event_says_so() {
    let mut bench = Bench::new();
    bench.decide(transaction(&["a", "b", "c"], 100));
    bench.decide(transaction(&["a", "b", "c"], 1));
    let view = bench.state.view();
    let watch = Watch { previous: true, ..Watch::default() };
    let left_out = |limits: &FrameLimits| {
        let events = told(&view, &watch, 1, ALL, limits);
        let previous = |event: &Event| event.previous.as_ref().unwrap().value.len();
        events.iter().map(|event| (previous(event), event.previous_left_out)).collect::<Vec<_>>()
    };
    let (given, missing) = ((100, false), (0, true));
    for events in [1, 2, 10] {
        let limits = |previous| FrameLimits { events, previous, ..FrameLimits::default() };
        assert_eq!(left_out(&limits(300)), [given; 3]);
        assert_eq!(left_out(&limits(299)), [given, given, missing], "{events} a frame");
        assert_eq!(left_out(&limits(99)), [missing; 3]);
    }
    let size = told(&view, &watch, 1, ALL, &FrameLimits::default())[0].bytes();
    assert_eq!(left_out(&FrameLimits { event: size, ..FrameLimits::default() }), [given; 3]);
    assert_eq!(left_out(&FrameLimits { event: size - 1, ..FrameLimits::default() }), [missing; 3]);
}

#[test]
fn a_watch_is_told_what_is_kept_and_the_view_says_since_when() {
    let mut bench = Bench::new();
    bench.decide(window(2, 1_000_000, 1_000_000));
    bench.set_all(&["a", "b", "a", "c"], "1");
    assert_eq!(bench.state.view().oldest(), 3);
    assert_eq!(revisions(&bench, &Watch::default(), 3), [("a".to_owned(), 4), ("c".to_owned(), 5)]);
    bench.flush();
    bench.reopen();
    assert_eq!(revisions(&bench, &Watch::default(), 3), [("a".to_owned(), 4), ("c".to_owned(), 5)]);
    assert_eq!(revisions(&bench, &Watch::default(), 5), []);
}

#[test]
fn one_watch_of_many_finds_its_changes_and_no_others() {
    let mut bench = Bench::new();
    bench.set_all(&["a", "aa", "ab", "b", "a", "c"], "1");
    let view = bench.state.view();
    let stretch = view.changes_after(0, ALL, |_| true).unwrap();
    let concerns = |watch: &Watch, after| stretch.concerns(watch, Place::after(after));
    assert!(
        concerns(&Watch::key(b"a"), 0) && concerns(&Watch::key(b"a"), 4) && !concerns(&Watch::key(b"a"), 5)
    );
    assert!(concerns(&Watch::prefix(b"aa"), 1) && !concerns(&Watch::prefix(b"aa"), 2));
    assert!(!concerns(&Watch::key(b"ac"), 0) && !concerns(&Watch::range(b"cc", b"z"), 0));
    assert_eq!(revisions(&bench, &Watch::prefix(b"a"), 1).len(), 3);
}
