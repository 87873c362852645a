//! Cuts a line into commands at `;` and each into the command and what it is piped to at the first `|`. Quoted and
//! escaped characters cut nothing; `#` at the beginning of a word makes the rest a comment.
#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing,
        clippy::arithmetic_side_effects
    )
)]

/// One command and the local command its output goes to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Step {
    /// In kvctl's language, still quoted.
    pub(crate) command: String,
    /// For `sh -c`.
    pub(crate) pipe: Option<String>,
}

/// The steps of a line, empty ones left out. A quote that is never closed is left to the parser to refuse.
pub(crate) fn steps(line: &str) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut step = Step { command: String::new(), pipe: None };
    let (mut quote, mut escaped, mut word_start) = (None, false, true);
    for character in line.chars() {
        let bare = quote.is_none() && !escaped;
        match character {
            '#' if bare && word_start => break,
            ';' if bare => {
                steps.push(std::mem::replace(&mut step, Step { command: String::new(), pipe: None }));
                word_start = true;
                continue;
            }
            '|' if bare && step.pipe.is_none() => {
                step.pipe = Some(String::new());
                word_start = true;
                continue;
            }
            '\'' | '"' if bare => quote = Some(character),
            _ if quote == Some(character) && !escaped => quote = None,
            _ => {}
        }
        escaped = character == '\\' && !escaped && quote != Some('\'');
        word_start = bare && character.is_whitespace();
        step.pipe.as_mut().unwrap_or(&mut step.command).push(character);
    }
    steps.push(step);
    steps.retain(|step| !step.command.trim().is_empty() || step.pipe.is_some());
    steps
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(line: &str) -> Vec<(String, Option<String>)> {
        let step =
            |step: Step| (step.command.trim().to_owned(), step.pipe.map(|pipe| pipe.trim().to_owned()));
        steps(line).into_iter().map(step).collect()
    }

    fn plain(command: &str) -> (String, Option<String>) {
        (command.to_owned(), None)
    }

    #[test]
    fn semicolons_separate() {
        assert_eq!(cut("set a 1; get a ;; "), [plain("set a 1"), plain("get a")]);
        assert_eq!(cut("  \n"), []);
    }

    #[test]
    fn quotes_hold_together() {
        assert_eq!(cut("set a 'x;|y'"), [plain("set a 'x;|y'")]);
        assert_eq!(cut(r#"set a "x\";|y"; get a"#), [plain(r#"set a "x\";|y""#), plain("get a")]);
        assert_eq!(cut(r"set a x\;y"), [plain(r"set a x\;y")]);
        assert_eq!(cut(r"set a '\'; get a"), [plain(r"set a '\'"), plain("get a")]);
    }

    #[test]
    fn the_first_bar_begins_the_local_command() {
        let piped = ("get a".to_owned(), Some("sort | wc -c".to_owned()));
        assert_eq!(cut("get a | sort | wc -c; get b"), [piped, plain("get b")]);
    }

    #[test]
    fn comments_are_left_out() {
        assert_eq!(cut("# all of it; get a"), []);
        assert_eq!(cut("get a#b # rest | x"), [plain("get a#b")]);
    }
}
