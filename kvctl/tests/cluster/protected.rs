//! A protected context before a cluster that would take every write: only whoever names it changes anything.

use crate::trial::Trial;

/// A cluster and, beside the context of the administrator, one of the same cluster that is protected.
fn trial() -> (Trial, String) {
    let trial = Trial::start(1);
    let context = trial.cluster.context();
    let import =
        trial.kvctl(&["context", "import", context.to_str().unwrap(), "--name", "prod", "--protected"]);
    assert_eq!(import.code, Some(0), "{import:?}");
    (trial, "prod".to_owned())
}

#[test]
fn a_write_needs_the_name_and_a_read_does_not() {
    let (trial, prod) = trial();
    let on = |words: &[&str]| trial.kvctl(&[&["-C", &prod], words].concat());
    let refused = on(&["set", "k", "v"]);
    assert_eq!((refused.code, refused.out.is_empty()), (Some(11), true), "{refused:?}");
    assert!(refused.err.contains("KV-1120") && refused.err.contains("--confirm prod"), "{refused:?}");
    assert_eq!(on(&["exists", "k"]).told().0, 1, "nothing was written");
    assert_eq!(on(&["set", "k", "v", "--confirm", "prod"]).code, Some(0));
    assert_eq!(on(&["get", "k"]).told(), (0, "v".into(), ""));
    let refused = trial.kvctl(&["set", "k", "w", "--confirm", "prod"]);
    assert!(
        refused.code == Some(11) && refused.err.contains("KV-1121"),
        "another cluster was meant: {refused:?}"
    );
}

#[test]
fn a_shell_only_reads_until_it_is_asked_by_name() {
    let (trial, prod) = trial();
    let shell = |words: &[&str], input: &str| trial.kvshell(&[&["-C", &prod], words].concat(), input);
    let ran = shell(&["-x", "set k v; exists k"], "");
    assert!(ran.code == Some(11) && ran.text() == "no\n" && ran.err.contains("\\writable"), "{ran:?}");
    let ran = shell(&["-x", "\\writable; set k v; exists k"], "");
    assert!(ran.code == Some(11) && ran.text() == "no\n", "a script gives the name: {ran:?}");
    let ran = shell(&["-x", "\\writable dev; set k v"], "");
    assert!(
        ran.code == Some(11) && ran.err.contains("`dev` is confirmed and the context is prod"),
        "{ran:?}"
    );
    let ran = shell(&[], "\\writable prod\nset -q k v\n\\readonly\nset k w\nget k\n");
    assert!(ran.code == Some(11) && ran.text() == "v", "{ran:?}");
    assert_eq!(shell(&["--confirm", "prod", "-x", "del -q k"], "").told(), (0, String::new(), ""));
    assert_eq!(shell(&["-x", "set -q k v --confirm prod; get k"], "").told(), (0, "v".into(), ""));
    let ran = shell(&["-x", "\\nonsense; \\writable prod more"], "");
    assert!(ran.code == Some(2) && ran.err.contains("`\\nonsense` is nothing"), "{ran:?}");
}

#[test]
fn a_line_of_a_shell_stays_with_the_cluster_of_the_shell() {
    let (trial, prod) = trial();
    let shell = |text: &str| trial.kvshell(&["-C", &prod, "-x", text], "");
    for text in ["set -t 9s k v", "set --connect-timeout 2s k v", "compact log"] {
        let ran = shell(text);
        assert!(ran.code == Some(11) && ran.err.contains("KV-1120"), "{text}: {ran:?}");
    }
    let admin = trial.cluster.context();
    let ran = shell(&format!("set -q k v -C {}; get k", admin.display()));
    assert_eq!(ran.told(), (0, "v".into(), ""), "a line may go elsewhere");
    let ran = shell("context use prod; config view -o json");
    assert!(
        ran.text().contains(r#""name":"context","origin":"flag","place":"--context","value":"prod""#),
        "{ran:?}"
    );
    assert!(ran.err.is_empty(), "{ran:?}");
}
