//! Lines in the middle of being typed, and what can follow.

use super::*;

fn at(line: &str) -> (String, Wanted, usize, bool) {
    let mut grammar = Line::command();
    grammar.build();
    let place = Place::after(&grammar, line.split_whitespace());
    (place.command.get_name().to_owned(), place.wanted, place.given, place.of_flag)
}

#[test]
fn keys_nodes_and_contexts_are_wanted_where_the_grammar_has_them() {
    for line in [
        "get",
        "put",
        "set",
        "del",
        "incr -o json",
        "exists",
        "history",
        "revert",
        "ls",
        "tree",
        "get --prefix",
        "get --range",
        "get --range a",
        "del --prefix",
        "export - --prefix",
        "get --after",
        "-C prod get",
        "-Cprod get",
        "-C=prod get",
        "--context=prod -qv get",
        "get --",
        "wait key",
        "check key",
        "-t 5s wait key",
    ] {
        assert_eq!(at(line).1, Wanted::Keys, "{line}");
    }
    for line in [
        "drain",
        "member remove",
        "member replace",
        "leader transfer",
        "ping",
        "ping n1 n2",
        "compact log",
        "compact log n1",
    ] {
        assert_eq!(at(line).1, Wanted::Nodes, "{line}");
    }
    for line in ["-C", "get -C", "get k -qC", "set k v --confirm", "context use", "context rm a b"] {
        assert_eq!(at(line).1, Wanted::Contexts, "{line}");
    }
    for line in [
        "",
        "set k",
        "set k v",
        "get k",
        "get --range a b",
        "get --limit",
        "wait",
        "wait leader",
        "check live",
        "drain n1",
        "member add",
        "member replace n1",
        "context ls",
        "nonsense",
        "nonsense get",
        "--key",
        "get k --key",
        "import",
    ] {
        assert_eq!(at(line).1, Wanted::Nothing, "{line}");
    }
}

#[test]
fn a_place_knows_what_stands_before_it() {
    assert_eq!(at("set k -5"), ("set".to_owned(), Wanted::Nothing, 2, false));
    assert_eq!(at("set -- --prefix"), ("set".to_owned(), Wanted::Nothing, 1, false));
    assert_eq!(at("leader transfer n1"), ("transfer".to_owned(), Wanted::Nothing, 1, false));
    assert_eq!(at("get --limit"), ("get".to_owned(), Wanted::Nothing, 0, true));
}

#[test]
fn a_line_is_cut_at_its_last_word() {
    let cut = |line: &str| {
        let (words, word) = cut(line);
        (words.join("|"), word)
    };
    assert_eq!(cut("kvctl get app/"), ("kvctl|get".to_owned(), "app/".to_owned()));
    assert_eq!(cut("kvctl get "), ("kvctl|get".to_owned(), String::new()));
    assert_eq!(cut("kvctl get 'a b"), ("kvctl|get".to_owned(), "a b".to_owned()));
    assert_eq!(cut("kvctl get \"a b"), ("kvctl|get".to_owned(), "a b".to_owned()));
    assert_eq!(cut("kvctl get a\\ b"), ("kvctl|get".to_owned(), "a b".to_owned()));
    assert_eq!(cut(""), (String::new(), String::new()));
}

#[test]
fn a_folder_stands_for_what_is_in_it() {
    assert_eq!(folded(b"app/mode", 0), b"app/");
    assert_eq!(folded(b"app/mode", 4), b"app/mode");
    assert_eq!(folded(b"app/a/b", 4), b"app/a/");
    assert_eq!(folded(b"app", 9), b"app");
}
