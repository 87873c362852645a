//! What lines mean, what of them may overtake what, and to what code their results come.

use protocol::ClusterId;

use super::{
    lines::LINE_BYTES,
    step::{Step, numbered},
    *,
};

fn read(text: &[u8], id: Option<RequestId>) -> Vec<Result<Numbered, Failure>> {
    let mut all = Vec::new();
    Lines::new(text, PathBuf::from("f"), id).each(|read| {
        all.push(read);
        true
    });
    all
}

fn one(text: &str) -> Result<Step, Failure> {
    let mut all = read(text.as_bytes(), None);
    assert_eq!(all.len(), 1, "{text}");
    all.remove(0).unwrap().step
}

#[test]
fn lines_are_those_of_the_shell() {
    let all = read(b"# begins\nset a 'x; y'\n\n  get a; put b -5 # both\nexists b", None);
    let lines: Vec<u64> = all.iter().map(|read| read.as_ref().unwrap().line).collect();
    assert_eq!(lines, [2, 4, 4, 5]);
    assert!(all.iter().all(|read| read.as_ref().unwrap().step.is_ok()), "{all:?}");
    let Ok(Step::Set(set)) = one("set a 'x; y'") else { panic!("a set") };
    assert_eq!(set.value.unwrap(), "x; y");
}

#[test]
fn what_is_no_command_of_a_batch_says_why() {
    for (line, why) in [
        ("status", "`status` is no command of a batch"),
        ("batch -f g", "`batch` is no command"),
        ("help", "`help` is no command"),
        ("get --prefix a", "one key"),
        ("get a | wc", "no pipes"),
        ("set a 'b", "not closed"),
        ("set a", "<VALUE>"),
        ("get a -C prod", "unexpected argument '-C'"),
        ("set a --file -", "no stdin"),
        ("txn --file -", "no stdin"),
        ("set '' b", "empty"),
        ("del a b", "unexpected argument 'b'"),
    ] {
        let failure = one(line).unwrap_err();
        assert!(failure.message.contains(why), "{line}: {failure}");
    }
    let bad = read(b"set a \xff\nget a\n", None);
    assert!(bad[0].as_ref().unwrap().step.as_ref().unwrap_err().message.contains("not UTF-8"));
    assert!(bad[1].as_ref().unwrap().step.is_ok(), "the next line is another");
}

#[test]
fn a_line_has_a_longest() {
    let limit = usize::try_from(LINE_BYTES).unwrap();
    let mut line = vec![b'#'; limit - 1];
    line.extend(b"\nget a");
    assert!(matches!(&read(&line, None)[..], [Ok(Numbered { line: 2, .. })]));
    line.insert(0, b'#');
    let all = read(&line, None);
    assert!(
        all.len() == 1 && all[0].as_ref().unwrap_err().message.contains("longer than 4194304"),
        "{all:?}"
    );
}

#[test]
fn what_touches_the_same_is_known() {
    let touches = |line: &str| one(line).unwrap().touches();
    let key = |key: &str| Touches::Key(key.as_bytes().to_vec());
    for line in ["set k v", "get k", "del k", "incr k", "exists k", "get k --rev 7"] {
        assert_eq!(touches(line), key("k"), "{line}");
    }
    for line in ["del --prefix k", "del --range a b", "txn --then 'get k'"] {
        assert_eq!(touches(line), Touches::Many, "{line}");
    }
}

#[test]
fn every_write_of_a_batch_has_an_id_of_its_own_and_the_same_in_every_run() {
    let given = RequestId { token: [0xff; 16], learned: 7, cluster: ClusterId([3; 16]) };
    let own = RequestId { token: [9; 16], ..given };
    let text = format!("set a 1\nnonsense\nincr b --request-id {own}\nget a\ndel a\n");
    let ids = || -> Vec<Option<RequestId>> {
        let all = read(text.as_bytes(), Some(given));
        let id = |step: &Step| match step {
            Step::Set(set) => set.request_id,
            Step::Del(del) => del.request_id,
            Step::Incr(incr) => incr.request_id,
            _ => None,
        };
        all.iter().map(|read| read.as_ref().unwrap().step.as_ref().ok().and_then(id)).collect()
    };
    assert_eq!(ids(), [Some(numbered(given, 1)), None, Some(own), None, Some(numbered(given, 5))]);
    assert_eq!(ids(), ids());
    assert_eq!(numbered(given, 1).token, [0; 16], "it wraps");
    assert_eq!((numbered(given, 5).learned, numbered(given, 5).cluster), (7, ClusterId([3; 16])));
}

#[test]
fn the_code_says_whether_all_some_or_none_was_done() {
    let report = |exit| Ok(Report::new(Document::bare(), Body::Empty).exit(exit));
    let fails = || Err(Failure::empty_key());
    let sum = |results: Vec<Result<Report, Failure>>, stopped| {
        let mut sum = Sum { stopped, ..Sum::default() };
        for result in &results {
            sum.add(result);
        }
        sum.exit()
    };
    assert_eq!(sum(vec![], false), Exit::Success);
    assert_eq!(sum(vec![report(Exit::Success), report(Exit::Success)], false), Exit::Success);
    assert_eq!(sum(vec![report(Exit::Success), report(Exit::Chosen(44))], false), Exit::No);
    assert_eq!(sum(vec![report(Exit::No), fails()], false), Exit::Partial);
    assert_eq!(sum(vec![fails(), fails()], false), Exit::Usage, "nothing was done");
    assert_eq!(sum(vec![report(Exit::Success), fails()], true), Exit::Usage);
}

#[test]
fn the_line_of_a_result_is_one_object() {
    let report = Report::new(Document::new("set").with("rev", 7), Body::Empty);
    let want = r#"{"schema":"kvctl.batch/v1","type":"result","line":3,"exit":0,"result":{"schema":"kvctl.set/v1","rev":7}}"#;
    assert_eq!(told(3, &Ok(report)), format!("{want}\n"));
    assert!(told(1, &Err(Failure::empty_key())).contains(r#""exit":2,"error":{"schema":"kvctl.error/v1","#));
}
