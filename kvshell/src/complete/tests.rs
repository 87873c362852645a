//! Lines in the middle of being typed: what TAB offers and what is shown in grey.

use std::fs;

use super::*;
use crate::live;

fn completer(answers: &[(Question, &[&str])]) -> Completer {
    let home = tempfile::tempdir().unwrap();
    fs::create_dir(home.path().join("contexts")).unwrap();
    for name in ["prod", "dev"] {
        fs::write(home.path().join("contexts").join(format!("{name}.kvctx")), "").unwrap();
    }
    let (config, system) = (Some(home.keep()), "/nonexistent".into());
    let mut completer =
        Completer::new(Places { config, system, socket: "/nowhere".into(), here: None }, true);
    completer.follow(Some(Arc::new(live::tests::known(answers))));
    completer
}

fn completed(before: &str) -> (usize, Vec<String>) {
    let keys: &[&str] = &["app/", "apple", "it's", "\\odd", "-dash"];
    let inside: &[&str] = &["app/mode", "app/quota/"];
    let asked = |prefix: &str| Question::Keys(prefix.to_owned());
    completer(&[(asked(""), keys), (asked("app/"), inside), (Question::Nodes, &["n1", "n2"])])
        .candidates(before)
}

fn ghost(line: &str) -> Option<(String, bool)> {
    let asked = |prefix: &str| Question::Keys(prefix.to_owned());
    let completer = completer(&[(asked("app"), &["app/", "apple"]), (asked("b$"), &["b$c"])]);
    completer.ghost(line).map(|ghost| (ghost.text, ghost.is_text))
}

#[test]
fn commands_come_first() {
    assert_eq!(completed("exi"), (0, vec!["exists".into(), "exit".into()]));
    assert_eq!(completed("get a; st"), (7, vec!["status".into()]));
    assert_eq!(completed("help lea"), (5, vec!["lease".into(), "leader".into()]));
    assert!(completed("").1.contains(&"put".to_owned()));
    assert_eq!(completed("-C prod statu").1, ["status"]);
    assert!(completed("get a | wc -").1.is_empty() && completed("!ls ").1.is_empty());
}

#[test]
fn flags_are_those_of_the_command_and_the_global_ones() {
    assert_eq!(completed("leader --a"), (7, vec!["--addr".into()]));
    assert_eq!(completed("get k --con").1, ["--confirm", "--connect-timeout", "--consistency", "--context"]);
    assert_eq!(completed("nonsense --a").1, Vec::<String>::new());
    assert_eq!(completed("get k k").1, Vec::<String>::new());
    assert_eq!(completed("context import f --re").1, ["--replace"]);
    assert_eq!(completed("get k --consistency st").1, ["stale"]);
    assert_eq!(completed("status -o nd").1, ["ndjson"]);
}

#[test]
fn commands_in_commands_and_names_of_contexts_are_known() {
    assert_eq!(completed("context im").1, ["import"]);
    assert_eq!(completed("wait h").1, ["healthy"]);
    assert_eq!(completed("wait leader h").1, Vec::<String>::new());
    for line in ["context use ", "context rm prod ", "get k -C ", "set k v --confirm ", "-C ", "\\context "] {
        assert_eq!(completed(line).1, ["dev", "prod"], "{line}");
    }
    assert_eq!(completed("context show p").1, ["prod"]);
    assert_eq!(completed("context ls ").1, Vec::<String>::new());
}

#[test]
fn keys_and_nodes_are_those_of_the_cluster() {
    assert_eq!(completed("get a"), (4, vec!["app/".into(), "apple".into()]));
    assert_eq!(completed("del --prefix app/").1, ["app/mode", "app/quota/"]);
    assert_eq!(completed("wait key app/m").1, ["app/mode"]);
    assert_eq!(completed("set k a").1, Vec::<String>::new(), "a value is no key");
    assert_eq!(completed("get i").1, ["\"it's\""], "as it must be typed");
    assert_eq!(completed("get \"i").1, ["\"it's\""]);
    assert_eq!(completed("get \\o").1, [r#""\\odd""#], "a backslash is one only in quotes");
    assert_eq!(completed("get '\\o").1, [r#""\\odd""#]);
    assert_eq!(completed("get ").1.len(), 4, "a key that looks like a flag is not offered");
    assert_eq!(completed("drain ").1, ["n1", "n2"]);
    assert_eq!(completed("leader t").1, ["transfer"]);
    assert_eq!(completed("leader transfer n2").1, ["n2"]);
    assert_eq!(completed("\\watch 5s get ap").1, ["app/", "apple"]);
    assert_eq!(completed("\\watch stat").1, ["status"]);
}

#[test]
fn words_of_the_shell_have_values() {
    assert_eq!(completed("\\wr").1, ["\\writable"]);
    assert_eq!(completed("\\format js").1, ["json"]);
    assert_eq!(completed("\\timing ").1, ["on", "off"]);
    assert_eq!(completed("\\timing on ").1, Vec::<String>::new());
}

#[test]
fn hints_end_a_word_or_say_what_comes() {
    let rest = |text: &str| Some((text.to_owned(), true));
    let says = |text: &str| Some((text.to_owned(), false));
    assert_eq!(ghost("stat"), rest("us"));
    assert_eq!(ghost("\\ti"), rest("ming"));
    assert_eq!((ghost("e"), ghost(""), ghost("get"), ghost("nonsense x")), (None, None, None, None));
    assert_eq!(ghost("get app"), rest("/"));
    assert_eq!(ghost("get 'app"), says("   (KEY [--prefix PREFIX] [--range FROM TO] [--glob PATTERN] …)"));
    assert!(ghost("get b$").is_some_and(|(_, is_text)| !is_text), "the whole word needs quotes");
    let set = ghost("set k ").unwrap().0;
    assert!(set.starts_with("VALUE [--file FILE|-]") && set.ends_with('…'), "{set}");
    assert_eq!(ghost("exists "), says("KEY [--consistency LEVEL] [--max-staleness AGE]"));
    assert_eq!(ghost("get -t "), says("TIME"));
    assert_eq!(ghost("exists k --consistency stale "), says("[--max-staleness AGE]"));
    assert_eq!(ghost("exists k --consistency stale --max-staleness 5s "), None, "everything is there");
    assert_eq!((ghost("get --pre"), ghost("get a | w"), ghost("!ls")), (None, None, None));
}

#[test]
fn a_command_is_bold_and_colour_can_be_left_out() {
    let mut completer = completer(&[]);
    assert_eq!(completer.highlight(" get k", 0), " \x1b[1mget\x1b[0m k");
    assert_eq!(completer.highlight("nonsense", 0), "nonsense");
    completer.color = false;
    assert_eq!(completer.highlight("get k", 0), "get k");
}
