//! What a monitoring system does with the output of a check, read by the published grammars: the perfdata and ranges of
//! the Monitoring Plugins guidelines, the text format of Prometheus. Nothing here comes from the tools.

use std::collections::{BTreeMap, BTreeSet};

/// The first line of a plugin, taken apart.
#[derive(Debug)]
pub(crate) struct Plugin {
    pub(crate) status: String,
    pub(crate) summary: String,
    pub(crate) data: BTreeMap<String, Datum>,
}

/// One `'label'=value[uom];[warn];[crit];[min];[max]`.
#[derive(Debug)]
pub(crate) struct Datum {
    pub(crate) value: f64,
    pub(crate) unit: String,
    pub(crate) warn: Option<(f64, f64, bool)>,
    pub(crate) crit: Option<(f64, f64, bool)>,
}

impl Plugin {
    pub(crate) fn read(output: &str, service: &str) -> Self {
        assert!(output.ends_with('\n') && output.lines().count() == 1, "one line: {output:?}");
        let line = output.trim_end_matches('\n');
        let (text, data) = line.split_once(" | ").unwrap_or((line, ""));
        let rest = text.strip_prefix(&format!("KV {service} ")).unwrap_or_else(|| panic!("service: {line}"));
        let (status, summary) = rest.split_once(" - ").unwrap_or_else(|| panic!("status: {line}"));
        assert!(["OK", "WARNING", "CRITICAL", "UNKNOWN"].contains(&status), "{line}");
        assert!(!summary.is_empty() && !data.contains('|'), "{line}");
        Self { status: status.into(), summary: summary.into(), data: perfdata(data) }
    }

    /// What the numbers and their ranges alone come to.
    pub(crate) fn code_of_data(&self) -> i32 {
        let alarms = |datum: &Datum, range: Option<(f64, f64, bool)>| {
            range.is_some_and(|(start, end, inside)| {
                let within = datum.value >= start && datum.value <= end;
                if inside { within } else { !within }
            })
        };
        if self.data.values().any(|datum| alarms(datum, datum.crit)) {
            2
        } else {
            i32::from(self.data.values().any(|datum| alarms(datum, datum.warn)))
        }
    }
}

fn perfdata(text: &str) -> BTreeMap<String, Datum> {
    let mut data = BTreeMap::new();
    let mut rest = text;
    while let Some(open) = rest.strip_prefix('\'') {
        let (label, after) = open.split_once("'=").expect("a label in quotes, then =");
        assert!(!label.contains(['\'', '=']) && !label.is_empty(), "label {label:?}");
        let (datum, next) = after.split_once(' ').unwrap_or((after, ""));
        assert!(data.insert(label.to_owned(), one(datum)).is_none(), "{label} twice");
        rest = next;
    }
    assert_eq!(rest, "", "the whole of the perfdata is read");
    data
}

fn one(text: &str) -> Datum {
    let fields: Vec<&str> = text.split(';').collect();
    assert!(fields.len() <= 5, "{text}");
    let number = fields[0].trim_end_matches(|letter: char| letter.is_ascii_alphabetic() || letter == '%');
    let unit = &fields[0][number.len()..];
    assert!(["", "s", "us", "ms", "%", "B", "KB", "MB", "TB", "c"].contains(&unit), "unit of {text}");
    let field = |at: usize| fields.get(at).copied().filter(|field| !field.is_empty());
    for bound in [3, 4].into_iter().filter_map(field) {
        decimal(bound);
    }
    Datum { value: decimal(number), unit: unit.into(), warn: field(1).map(range), crit: field(2).map(range) }
}

/// Start, end, and whether being inside alarms.
fn range(text: &str) -> (f64, f64, bool) {
    let (body, inside) = match text.strip_prefix('@') {
        Some(body) => (body, true),
        None => (text, false),
    };
    let (start, end) = match body.find(':') {
        Some(at) => (&body[..at], &body[at + 1..]),
        None => ("0", body),
    };
    let start = if start == "~" { f64::NEG_INFINITY } else { decimal(start) };
    let end = if end.is_empty() { f64::INFINITY } else { decimal(end) };
    assert!(start <= end, "{text}");
    (start, end, inside)
}

/// `[-]digits[.digits]`: the guidelines allow nothing else.
fn decimal(text: &str) -> f64 {
    let allowed = |letter: char| letter.is_ascii_digit() || letter == '.' || letter == '-';
    assert!(!text.is_empty() && text.chars().all(allowed), "number {text:?}");
    text.parse().unwrap()
}

/// Samples of an exposition by name and labels, each family announced once and before its samples.
pub(crate) fn prometheus(text: &str) -> BTreeMap<String, f64> {
    assert!(text.ends_with('\n'), "the last line ends as well");
    let (mut samples, mut done) = (BTreeMap::new(), BTreeSet::new());
    let (mut helped, mut typed) = (String::new(), String::new());
    for line in text.lines() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            let (name, words) = help.split_once(' ').expect("help has words");
            assert!(done.insert(name.to_owned()) && is_name(name) && !words.is_empty(), "{line}");
            name.clone_into(&mut helped);
        } else if let Some(kind) = line.strip_prefix("# TYPE ") {
            assert_eq!(kind, format!("{helped} gauge"), "the type follows its help");
            helped.clone_into(&mut typed);
        } else {
            let (series, value) = line.rsplit_once(' ').expect("a sample has a value");
            let name = series.split('{').next().unwrap();
            assert!(name == typed && name == helped, "{line} belongs to {typed}");
            labels(&series[name.len()..]);
            let value: f64 = value.parse().unwrap_or_else(|_| panic!("value of {line}"));
            assert!(samples.insert(series.to_owned(), value).is_none(), "{series} twice");
        }
    }
    samples
}

fn is_name(name: &str) -> bool {
    let letter = |c: char| c.is_ascii_alphabetic() || c == '_' || c == ':';
    name.starts_with(letter) && name.chars().all(|c| letter(c) || c.is_ascii_digit())
}

/// `{name="value",…}` or nothing; in a value only `\\`, `\"` and `\n` are escapes.
fn labels(text: &str) {
    let Some(mut rest) = text.strip_prefix('{') else { return assert_eq!(text, "") };
    loop {
        let (name, after) = rest.split_once("=\"").expect("a label has a quoted value");
        assert!(is_name(name) && !name.contains(':'), "label {name:?}");
        let mut letters = after.char_indices();
        let end = loop {
            match letters.next() {
                Some((_, '\\')) => {
                    let (_, escaped) = letters.next().expect("something is escaped");
                    assert!(['\\', '"', 'n'].contains(&escaped), "{text}");
                }
                Some((at, '"')) => break at,
                Some(_) => {}
                None => panic!("a value that never ends: {text}"),
            }
        };
        match &after[end + 1..] {
            "}" => return,
            more => rest = more.strip_prefix(',').expect("labels are separated by commas"),
        }
    }
}

#[test]
fn the_readers_read_and_refuse() {
    let plugin = Plugin::read("KV LIVE OK - well | 'a b'=1.5ms;~:10;@5:6;0;9 'c'=-2\n", "LIVE");
    assert_eq!((plugin.data["a b"].value, plugin.data["a b"].unit.as_str()), (1.5, "ms"));
    assert_eq!(plugin.data["a b"].crit, Some((5.0, 6.0, true)));
    assert_eq!(plugin.code_of_data(), 0);
    assert_eq!(Plugin::read("KV LIVE OK - w | 'a'=5;;@5:6\n", "LIVE").code_of_data(), 2);
    for bad in ["'a'=1;1e3", "a=1", "'a'=1 'a'=2", "'a'=1x", "'a'=1;5:4", "'a'=1;;;;;", "'a'=1  'b'=2"] {
        assert!(std::panic::catch_unwind(|| perfdata(bad)).is_err(), "{bad}");
    }
    let good = "# HELP a b\n# TYPE a gauge\na{x=\"\\\"}\\\\\",y=\"\"} 1\na 2\n";
    assert_eq!(prometheus(good).len(), 2);
    for bad in [
        "a 1\n",
        "# HELP a b\n# TYPE a gauge\na 1",
        "# HELP a b\n# TYPE a gauge\na 1\na 2\n",
        "# HELP a b\n# TYPE a gauge\nb 1\n",
        "# HELP a b\n# TYPE a gauge\na{x=\"\\t\"} 1\n",
        "# HELP a b\n# TYPE a gauge\na{x=1} 1\n",
        "# HELP a b\n# TYPE a gauge\na x\n",
    ] {
        assert!(std::panic::catch_unwind(|| prometheus(bad)).is_err(), "{bad}");
    }
}
