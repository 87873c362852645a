//! Cuts a line into commands at `;` and each into the command and what it is piped to at the first `|`. Quoted and
//! escaped characters cut nothing; `#` at the beginning of a word makes the rest a comment. The
//! shell reads its lines so, and `batch` its own.

/// One command and the local command its output goes to.
#[derive(Debug, PartialEq, Eq)]
pub struct Step {
    /// In kvctl's language, still quoted.
    pub command: String,
    /// For `sh -c`.
    pub pipe: Option<String>,
}

/// What a character means where it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Text,
    Space,
    Semicolon,
    Bar,
    Hash,
}

/// Reads a line from left to right.
struct Reader {
    quote: Option<char>,
    escaped: bool,
    word_start: bool,
}

impl Reader {
    fn new() -> Self {
        Self { quote: None, escaped: false, word_start: true }
    }

    fn read(&mut self, character: char) -> Kind {
        let bare = self.quote.is_none() && !self.escaped;
        let kind = match character {
            '#' if bare && self.word_start => Kind::Hash,
            ';' if bare => Kind::Semicolon,
            '|' if bare => Kind::Bar,
            _ if bare && character.is_whitespace() => Kind::Space,
            _ => Kind::Text,
        };
        match character {
            '\'' | '"' if bare => self.quote = Some(character),
            _ if self.quote == Some(character) && !self.escaped => self.quote = None,
            _ => {}
        }
        self.escaped = character == '\\' && !self.escaped && self.quote != Some('\'');
        self.word_start = kind != Kind::Text;
        kind
    }
}

/// The steps of a line, empty ones left out. A quote that is never closed is left to the parser to refuse.
pub fn steps(line: &str) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut step = Step { command: String::new(), pipe: None };
    let mut reader = Reader::new();
    for character in line.chars() {
        match reader.read(character) {
            Kind::Hash => break,
            Kind::Semicolon => {
                steps.push(std::mem::replace(&mut step, Step { command: String::new(), pipe: None }));
            }
            Kind::Bar if step.pipe.is_none() => step.pipe = Some(String::new()),
            _ => step.pipe.as_mut().unwrap_or(&mut step.command).push(character),
        }
    }
    steps.push(step);
    steps.retain(|step| !step.command.trim().is_empty() || step.pipe.is_some());
    steps
}

/// Where the end of a line stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct End {
    /// Where the last step begins.
    pub step: usize,
    /// Where the last word begins.
    pub word: usize,
    /// Whether it is our own language and no comment or local command.
    pub ours: bool,
    /// Whether a quote is open, or the line break itself is escaped.
    pub open: bool,
}

/// Looks for the end of a line that is being typed.
pub fn end(line: &str) -> End {
    let ours = !line.trim_start().starts_with('!');
    let (mut end, mut reader) = (End { ours, ..End::default() }, Reader::new());
    if !ours {
        return end;
    }
    for (at, character) in line.char_indices() {
        let next = at.saturating_add(character.len_utf8());
        match reader.read(character) {
            Kind::Hash => return End { ours: false, ..end },
            Kind::Semicolon => (end.step, end.word, end.ours) = (next, next, true),
            Kind::Bar => end.ours = false,
            Kind::Space => end.word = next,
            Kind::Text => {}
        }
    }
    End { open: reader.quote.is_some() || reader.escaped, ..end }
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
    fn the_end_of_a_line_is_in_its_last_word() {
        let at = |line: &'static str| {
            let end = end(line);
            (&line[end.step..end.word], &line[end.word..], end.ours, end.open)
        };
        assert_eq!(at("get a; set b"), (" set ", "b", true, false));
        assert_eq!(at("set k 'a; b"), ("set k ", "'a; b", true, true));
        assert_eq!(at("set k a\\ b"), ("set k ", "a\\ b", true, false));
        assert_eq!(at("set k a\\"), ("set k ", "a\\", true, true));
        assert!(!at("get k | wc 'a").2);
        assert_eq!(at("get k | wc; ge"), (" ", "ge", true, false));
        assert_eq!((end("get k # isn't").open, end("!echo 'a").open), (false, false));
        assert_eq!(at(""), ("", "", true, false));
    }

    #[test]
    fn comments_are_left_out() {
        assert_eq!(cut("# all of it; get a"), []);
        assert_eq!(cut("get a#b # rest | x"), [plain("get a#b")]);
    }
}
