//! One test a rule; the rules are in the prose of [`super`].

use protocol::{ClusterId, response::Found};

use super::*;

const LEFT: Duration = Duration::from_secs(5);
/// What is left of it after [`DEFINITE`].
const LATER: Duration = LEFT.saturating_sub(DEFINITE);

fn id() -> RequestId {
    RequestId { token: [1; 16], learned: 9, cluster: ClusterId([2; 16]) }
}

fn node(name: &str) -> Address {
    Address::from(format!("{name}:7400"))
}

/// A write whose first attempt is on its way.
fn sent_write() -> Retry {
    let mut retry = Retry::write(7, None);
    assert_eq!(retry.request(id), id());
    retry.sent();
    retry
}

fn answered(by: &str, refused: Refused) -> Event {
    Event::Answered { address: node(by), result: Err(refused) }
}

fn not_leader(by: &str, leader: &str) -> Event {
    answered(by, Refused::NotLeader { leader: Some(1), address: Some(node(leader).to_string()) })
}

fn dropped(at: &str) -> Event {
    Event::Dropped { address: node(at), error: EndpointError::Dropped { reason: "gone".into() } }
}

fn failures(error: &EndpointError) -> Vec<EndpointFailure> {
    ["a:1", "b:2"].map(|address| EndpointFailure { address: address.into(), error: error.clone() }).to_vec()
}

fn tls() -> EndpointError {
    EndpointError::Tls { reason: "unknown issuer".into() }
}

fn written() -> Response {
    Response::Written { revision: 3, existed: false, deduplicated: true }
}

fn assert_unknown(next: &Next) {
    assert!(matches!(next, Next::Fail(Error::Unknown { request, .. }) if *request == id()), "{next:?}");
}

fn assert_waits(next: &Next, whom: &Target) {
    let Next::Wait { pause, then } = next else { panic!("{next:?}") };
    assert!(*pause > Duration::ZERO && *pause <= LONGEST_PAUSE, "{pause:?}");
    assert_eq!(then, whom);
}

#[test]
fn an_answer_ends_the_call() {
    let found = Some(Found { value: b"v".to_vec(), revision: 1, created: 1, version: 1, lease: None });
    let value = Response::Value { found, revision: 1, staleness_ms: None };
    let event = Event::Answered { address: node("a"), result: Ok(value.clone()) };
    assert_eq!(Retry::read(7).step(event, LEFT), Next::Done(value));
}

#[test]
fn a_redirect_is_followed_at_once() {
    let next = sent_write().step(not_leader("a", "b"), LEFT);
    assert_eq!(next, Next::Ask(Target::Leader { id: Some(1), address: node("b") }));
}

#[test]
fn two_nodes_that_name_each_other_are_not_asked_without_pause_for_ever() {
    let mut retry = sent_write();
    let mut asked = 0;
    while let Next::Ask(_) = retry.step(not_leader("a", "b"), LEFT) {
        retry.sent();
        asked += 1;
        assert!(asked < 10);
    }
    assert_eq!(asked, HOPS);
}

#[test]
fn a_leader_that_was_silent_is_not_gone_back_to_until_it_was_named_often() {
    let mut retry = sent_write();
    assert_eq!(retry.step(Event::Silent { address: node("a") }, LEFT), Next::Ask(Target::NotAt(node("a"))));
    for _ in 1..NAMED {
        retry.sent();
        assert_waits(&retry.step(not_leader("b", "a"), LEFT), &Target::NotAt(node("a")));
    }
    let next = retry.step(not_leader("b", "a"), LEFT);
    assert_eq!(next, Next::Ask(Target::Leader { id: Some(1), address: node("a") }));
}

#[test]
fn a_leader_that_could_not_be_reached_is_shunned_too() {
    let mut retry = sent_write();
    retry.missed(&node("a"));
    assert_waits(&retry.step(not_leader("b", "a"), LEFT), &Target::NotAt(node("a")));
}

#[test]
fn no_leader_is_waited_for_and_reported_when_the_time_is_up() {
    for refused in [Refused::NotLeader { leader: None, address: None }, Refused::NoQuorum] {
        let mut retry = sent_write();
        assert!(matches!(retry.step(answered("a", refused), LEFT), Next::Wait { .. }));
        let next = retry.step(Event::DeadlinePassed, Duration::ZERO);
        assert!(matches!(next, Next::Fail(Error::NoLeader { .. })), "{next:?}");
    }
}

#[test]
fn busy_is_tried_again_later_and_is_not_applied() {
    let mut retry = sent_write();
    assert_waits(
        &retry.step(answered("a", Refused::Busy { what: "queue".into() }), LEFT),
        &Target::Preferred,
    );
    let next = retry.step(Event::DeadlinePassed, Duration::ZERO);
    let Next::Fail(Error::Deadline { why }) = next else { panic!("{next:?}") };
    assert!(why.contains("queue is full"), "{why}");
}

#[test]
fn an_unavailable_node_is_left_for_another() {
    let next = sent_write().step(answered("a", Refused::Unavailable("stopping".into())), LEFT);
    assert_waits(&next, &Target::NotAt(node("a")));
}

#[test]
fn pauses_grow_and_differ_between_clients() {
    let pauses = |seed| {
        let mut retry = Retry::read(seed);
        (0..8).map(|_| retry.pause()).collect::<Vec<_>>()
    };
    let one = pauses(1);
    assert!(one[0] <= FIRST_PAUSE && one[7] >= LONGEST_PAUSE / 2 && one.iter().all(|p| *p <= LONGEST_PAUSE));
    assert_ne!(one, pauses(2));
}

#[test]
fn verdicts_on_the_operation_are_final() {
    for refused in [
        Refused::TooLarge { what: "value".into(), size: 2, limit: 1 },
        Refused::Invalid("empty key".into()),
        Refused::BadRequestId("used before".into()),
        Refused::NotKept { oldest: 7, age_ms: None },
    ] {
        assert_eq!(
            sent_write().step(answered("a", refused.clone()), LEFT),
            Next::Fail(Error::Refused(refused))
        );
    }
}

#[test]
fn one_id_for_all_attempts() {
    let mut retry = sent_write();
    retry.step(dropped("a"), LEFT);
    assert_eq!(retry.request(|| panic!("a second id")), id());
    assert_eq!(Retry::write(7, Some(id())).request(|| panic!("a second id")), id());
}

#[test]
fn a_write_on_a_lost_connection_is_asked_elsewhere_at_once() {
    let mut retry = sent_write();
    assert_eq!(retry.step(dropped("a"), LEFT), Next::Ask(Target::NotAt(node("a"))));
    retry.sent();
    let event = Event::Answered { address: node("b"), result: Ok(written()) };
    assert_eq!(retry.step(event, LEFT), Next::Done(written()));
}

#[test]
fn connections_that_keep_dropping_are_not_hammered() {
    let mut retry = sent_write();
    for _ in 0..HOPS {
        assert!(matches!(retry.step(dropped("a"), LEFT), Next::Ask(_)));
    }
    assert_waits(&retry.step(dropped("a"), LEFT), &Target::NotAt(node("a")));
}

#[test]
fn expired_on_the_first_attempt_is_not_applied() {
    let next = sent_write().step(answered("a", Refused::Expired), LEFT);
    assert_eq!(next, Next::Fail(Error::Refused(Refused::Expired)));
}

#[test]
fn expired_after_an_attempt_that_may_have_arrived_is_unknown() {
    let mut retry = sent_write();
    retry.step(dropped("a"), LEFT);
    retry.sent();
    assert_unknown(&retry.step(answered("b", Refused::Expired), LEFT));
}

#[test]
fn expired_after_an_attempt_that_was_turned_away_is_not_applied() {
    let mut retry = sent_write();
    retry.step(not_leader("a", "b"), LEFT);
    retry.sent();
    let next = retry.step(answered("b", Refused::Expired), LEFT);
    assert_eq!(next, Next::Fail(Error::Refused(Refused::Expired)));
}

#[test]
fn an_id_given_by_the_caller_may_have_been_delivered_before() {
    let mut retry = Retry::write(7, Some(id()));
    retry.sent();
    assert_unknown(&retry.step(answered("a", Refused::Expired), LEFT));
    assert_unknown(&Retry::write(7, Some(id())).step(Event::DeadlinePassed, Duration::ZERO));
}

#[test]
fn a_deadline_after_the_write_was_sent_is_unknown_before_it_is_not_applied() {
    assert_unknown(&sent_write().step(Event::DeadlinePassed, Duration::ZERO));
    let mut unsent = Retry::write(7, None);
    unsent.request(id);
    let next = unsent.step(Event::DeadlinePassed, Duration::ZERO);
    assert!(matches!(next, Next::Fail(Error::Deadline { .. })), "{next:?}");
}

#[test]
fn a_write_that_was_turned_away_is_not_sent_again_just_before_the_deadline() {
    let refused = || answered("a", Refused::NotLeader { leader: None, address: None });
    let almost = TOO_LATE + FIRST_PAUSE / 4;
    let next = sent_write().step(refused(), almost);
    assert!(matches!(next, Next::Fail(Error::NoLeader { .. })), "{next:?}");
    assert!(matches!(sent_write().step(refused(), TOO_LATE + FIRST_PAUSE), Next::Wait { .. }));
    assert!(matches!(Retry::read(7).step(refused(), almost), Next::Wait { .. }));
    let mut open = sent_write();
    open.step(dropped("a"), LEFT);
    open.sent();
    assert!(matches!(open.step(refused(), almost), Next::Wait { .. }));
}

#[test]
fn a_deadline_of_a_read_is_never_unknown() {
    let mut retry = Retry::read(7);
    retry.sent();
    let next = retry.step(Event::DeadlinePassed, Duration::ZERO);
    assert!(matches!(next, Next::Fail(Error::Deadline { .. })), "{next:?}");
}

#[test]
fn unknown_stays_unknown_through_later_refusals() {
    for event in [
        answered("b", Refused::NoQuorum),
        answered("b", Refused::NotLeader { leader: None, address: None }),
        answered("b", Refused::Busy { what: "queue".into() }),
        Event::Unreachable(failures(&EndpointError::Refused)),
    ] {
        let mut retry = sent_write();
        assert!(matches!(retry.step(answered("a", Refused::Lost), LEFT), Next::Wait { .. }));
        if matches!(event, Event::Answered { .. }) {
            retry.sent();
        }
        assert!(matches!(retry.step(event, LEFT), Next::Wait { .. }));
        assert_unknown(&retry.step(Event::DeadlinePassed, Duration::ZERO));
    }
}

#[test]
fn a_lost_outcome_is_asked_for_again_and_settled() {
    let mut retry = sent_write();
    assert_waits(&retry.step(answered("a", Refused::Lost), LEFT), &Target::Preferred);
    retry.sent();
    let event = Event::Answered { address: node("a"), result: Ok(written()) };
    assert_eq!(retry.step(event, LEFT), Next::Done(written()));
}

#[test]
fn a_silent_attempt_may_still_say_that_nothing_was_done() {
    let mut retry = sent_write();
    retry.step(Event::Silent { address: node("a") }, LEFT);
    retry.step(answered("a", Refused::NoQuorum), LEFT);
    let next = retry.step(Event::DeadlinePassed, Duration::ZERO);
    assert!(matches!(next, Next::Fail(Error::NoLeader { .. })), "{next:?}");
}

#[test]
fn patience_doubles_with_each_silence() {
    let mut retry = sent_write();
    assert_eq!(retry.patience(), PATIENCE);
    retry.step(Event::Silent { address: node("a") }, LEFT);
    assert_eq!(retry.patience(), PATIENCE * 2);
    (0..9).for_each(|_| drop(retry.step(Event::Silent { address: node("a") }, LEFT)));
    assert_eq!(retry.patience(), PATIENCE * 8);
}

#[test]
fn tls_failures_everywhere_are_denied_at_once() {
    let next = Retry::write(7, None).step(Event::Unreachable(failures(&tls())), LEFT);
    assert!(matches!(next, Next::Fail(Error::Denied { ref endpoints }) if endpoints.len() == 2), "{next:?}");
}

#[test]
fn tls_failures_somewhere_are_retried() {
    let mut mixed = failures(&tls());
    mixed[1].error = EndpointError::Silent;
    assert_waits(&Retry::read(7).step(Event::Unreachable(mixed), LEFT), &Target::Preferred);
}

#[test]
fn a_definite_no_everywhere_is_believed_after_a_while() {
    let refused = || Event::Unreachable(failures(&EndpointError::Refused));
    let mut retry = Retry::write(7, None);
    assert_waits(&retry.step(refused(), LEFT), &Target::Preferred);
    assert_waits(&retry.step(refused(), LATER + Duration::from_millis(1)), &Target::Preferred);
    let next = retry.step(refused(), LATER);
    assert!(
        matches!(next, Next::Fail(Error::Unreachable { ref endpoints }) if endpoints.len() == 2),
        "{next:?}"
    );
}

#[test]
fn silence_everywhere_is_waited_for_until_the_deadline() {
    let silent = || Event::Unreachable(failures(&EndpointError::Silent));
    let mut retry = Retry::write(7, None);
    assert_waits(&retry.step(silent(), LEFT), &Target::Preferred);
    assert_waits(&retry.step(silent(), LATER), &Target::Preferred);
    let next = retry.step(Event::DeadlinePassed, Duration::ZERO);
    assert!(matches!(next, Next::Fail(Error::Unreachable { .. })), "{next:?}");
}

#[test]
fn a_write_that_may_be_applied_is_settled_until_the_deadline() {
    let refused = || Event::Unreachable(failures(&EndpointError::Refused));
    let mut retry = sent_write();
    retry.step(dropped("a"), LEFT);
    assert_waits(&retry.step(refused(), LEFT), &Target::Preferred);
    assert_waits(&retry.step(refused(), LATER), &Target::Preferred);
    assert_waits(&retry.step(Event::Unreachable(failures(&tls())), LEFT), &Target::Preferred);
    assert_unknown(&retry.step(Event::DeadlinePassed, Duration::ZERO));
}
