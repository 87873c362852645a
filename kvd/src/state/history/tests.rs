use super::*;

fn change(revision: u64) -> Change {
    let occasion = Occasion { revision, stamp_ms: revision, wall_ms: 0, expired: false };
    occasion.change(&Arc::from(*b"key"), false, Before::Nothing(0))
}

fn history(window: Window) -> History {
    History::load(Facts { window, ..Facts::FIRST }, VecDeque::new()).unwrap()
}

fn add(history: &mut History, revision: u64) {
    let mut recent = Recent::default();
    history.add(&change(revision));
    history.trim(revision, 0, &mut recent);
}

#[test]
fn a_window_is_some_hundred_spans_and_keeps_nearly_all_that_it_may() {
    for (changes, age_ms, bytes) in [
        (10_000, u64::MAX, u64::MAX),
        (u64::MAX, 10_000, u64::MAX),
        (u64::MAX, u64::MAX, 10_000 * change(1).bytes()),
    ] {
        let mut history = history(Window { changes, age_ms, bytes });
        for revision in 1..40_000 {
            add(&mut history, revision);
            let Kept { changes, oldest, .. } = history.kept();
            assert!(
                changes <= 10_001 && history.spans.len() <= 66,
                "{changes} in {} spans",
                history.spans.len()
            );
            assert!(oldest == 0 || changes >= 10_000 - 2 * 158, "{changes} are left");
        }
    }
}

#[test]
fn a_window_that_is_made_smaller_is_trimmed_at_once_and_a_larger_one_fills_up() {
    let mut history = history(Window::FIRST);
    (1..=20_000).for_each(|revision| add(&mut history, revision));
    assert_eq!((history.spans.len(), history.kept().oldest), (2, 0));
    history.set_window(Window { changes: 100, ..Window::FIRST });
    add(&mut history, 20_001);
    assert!(history.kept().changes <= 100);
    history.set_window(Window { changes: 1000, ..Window::FIRST });
    (20_002..30_000).for_each(|revision| add(&mut history, revision));
    assert!((900..=1000).contains(&history.kept().changes));
}

#[test]
fn the_changes_of_one_revision_are_trimmed_together() {
    let mut history = history(Window { changes: 10, ..Window::FIRST });
    for key in 0..20_u8 {
        let occasion = Occasion { revision: 5, stamp_ms: 5, wall_ms: 0, expired: false };
        history.add(&occasion.change(&Arc::from([key]), false, Before::Nothing(0)));
    }
    assert_eq!(history.spans.len(), 1);
    history.trim(5, 0, &mut Recent::default());
    assert_eq!(
        (history.kept().changes, history.kept().oldest, history.hash),
        (0, 5, 0),
        "too many for the window"
    );
}

#[test]
fn what_is_loaded_is_what_was_kept_and_disorder_is_refused() {
    let mut kept = history(Window { changes: 500, ..Window::FIRST });
    (1..=2000).for_each(|revision| add(&mut kept, revision));
    let spans: VecDeque<Span> = kept.spans().copied().collect();
    let loaded = History::load(kept.facts(), spans.clone()).unwrap();
    assert_eq!((loaded.kept(), loaded.hash()), (kept.kept(), kept.hash()));
    let reversed = spans.iter().rev().copied().collect();
    assert!(History::load(kept.facts(), reversed).is_err());
    let with = |changes, bytes| {
        let mut spans = spans.clone();
        (spans[1].changes, spans[1].bytes) = (changes, bytes);
        History::load(kept.facts(), spans)
    };
    assert!(with(1, 1).is_ok());
    assert!(with(u64::MAX, 1).is_err() && with(1, u64::MAX).is_err(), "the sum overflows");
    assert!(with(NUMBER, 1).is_err() && with(1, NUMBER).is_err(), "it soon would");
    let floor = spans[0].first;
    assert!(History::load(Facts { floor, ..kept.facts() }, spans).is_err(), "a span at the floor is no more");
}
