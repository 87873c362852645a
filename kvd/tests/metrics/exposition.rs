//! A reader of the text format, 0.0.4, as strict as its specification: lines end in a line feed, the last one too; a family
//! has at most one `HELP` and one `TYPE`, before its samples, which stand together; names, label names, escapes and numbers
//! have their grammar; no sample is there twice; the parts of a histogram agree. And the conventions: counters end in
//! `_total`, times are in seconds, sizes in bytes, everything says what it is.

use std::collections::{BTreeMap, BTreeSet};

/// The samples of a page.
#[derive(Debug)]
pub(crate) struct Page(BTreeMap<(String, Labels), f64>);

type Labels = BTreeMap<String, String>;

impl Page {
    /// The samples of this name.
    pub(crate) fn samples<'a>(&'a self, name: &'a str) -> impl Iterator<Item = (&'a Labels, f64)> {
        self.0.iter().filter(move |((is, _), _)| is == name).map(|((_, labels), value)| (labels, *value))
    }

    /// The sample of this name with these labels.
    #[track_caller]
    pub(crate) fn value(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let labels = labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        *self.0.get(&(name.to_owned(), labels)).unwrap_or_else(|| panic!("no such sample: {name}"))
    }
}

#[derive(Default)]
struct Family {
    name: String,
    help: Option<String>,
    kind: Option<String>,
    samples: Vec<(String, Labels, f64)>,
}

/// Reads a page; the fault names the line.
pub(crate) fn check(text: &str) -> Result<Page, String> {
    let body = text.strip_suffix('\n').ok_or("the last line does not end")?;
    let mut families: Vec<Family> = Vec::new();
    for (at, line) in body.split('\n').enumerate() {
        read_line(line, &mut families).map_err(|fault| format!("line {}: {fault}: {line}", at + 1))?;
    }
    let mut names = BTreeSet::new();
    let mut page = BTreeMap::new();
    for family in families {
        if !names.insert(family.name.clone()) {
            return Err(format!("{} stands in two places", family.name));
        }
        conventions(&family).map_err(|fault| format!("{}: {fault}", family.name))?;
        if family.kind.as_deref() == Some("histogram") {
            histogram(&family).map_err(|fault| format!("{}: {fault}", family.name))?;
        }
        for (name, labels, value) in family.samples {
            if page.insert((name.clone(), labels), value).is_some() {
                return Err(format!("{name} is there twice"));
            }
        }
    }
    Ok(Page(page))
}

fn read_line(line: &str, families: &mut Vec<Family>) -> Result<(), String> {
    if let Some(comment) = line.strip_prefix("# ") {
        let (word, rest) = comment.split_once(' ').ok_or("a comment that is neither HELP nor TYPE")?;
        let (name, rest) = rest.split_once(' ').ok_or("nothing follows the name")?;
        if !is_name(name) {
            return Err("no name of a metric".to_owned());
        }
        if families.last().is_none_or(|family| family.name != name) {
            families.push(Family { name: name.to_owned(), ..Family::default() });
        }
        let family = families.last_mut().unwrap();
        if !family.samples.is_empty() {
            return Err("samples come before it".to_owned());
        }
        let once = match word {
            "HELP" => {
                unescape(rest, false)?;
                family.help.replace(rest.to_owned())
            }
            "TYPE" if ["counter", "gauge", "histogram", "summary", "untyped"].contains(&rest) => {
                family.kind.replace(rest.to_owned())
            }
            _ => return Err("an unknown word or type".to_owned()),
        };
        return if once.is_none() { Ok(()) } else { Err("it is said twice".to_owned()) };
    }
    let (name, labels, value) = sample(line)?;
    let family = families.last_mut().ok_or("a sample before all families")?;
    let suffixes: &[&str] =
        if family.kind.as_deref() == Some("histogram") { &["_bucket", "_sum", "_count"] } else { &[""] };
    if !suffixes.iter().any(|suffix| format!("{}{suffix}", family.name) == name) {
        return Err(format!("a sample of another family than {}", family.name));
    }
    family.samples.push((name, labels, value));
    Ok(())
}

/// `name{label="value",…} number`, without a time, which nothing here has.
fn sample(line: &str) -> Result<(String, Labels, f64), String> {
    let end = line.find(['{', ' ']).ok_or("no value")?;
    let (name, mut rest) = line.split_at(end);
    if !is_name(name) {
        return Err("no name of a metric".to_owned());
    }
    let mut labels = Labels::new();
    if let Some(mut inner) = rest.strip_prefix('{') {
        while !inner.starts_with('}') {
            let (label, after) = inner.split_once("=\"").ok_or("a label without a value")?;
            if !is_label(label) {
                return Err(format!("`{label}` is no name of a label"));
            }
            let close = closing(after).ok_or("a value that does not end")?;
            if labels.insert(label.to_owned(), unescape(&after[..close], true)?).is_some() {
                return Err(format!("{label} twice"));
            }
            inner = &after[close + 1..];
            inner = match inner.strip_prefix(',') {
                Some(more) if !more.starts_with('}') => more,
                None if inner.starts_with('}') => inner,
                _ => return Err("neither another label nor the end".to_owned()),
            };
        }
        rest = &inner[1..];
    }
    let number = rest.strip_prefix(' ').ok_or("no space before the value")?;
    let plain = number.bytes().all(|byte| byte.is_ascii_digit() || b"+-.eE".contains(&byte));
    let value = number.parse::<f64>().ok().filter(|_| plain || ["+Inf", "-Inf", "NaN"].contains(&number));
    Ok((name.to_owned(), labels, value.ok_or("no number")?))
}

fn closing(text: &str) -> Option<usize> {
    let mut escaped = false;
    text.char_indices().find_map(|(at, character)| {
        let ends = character == '"' && !escaped;
        escaped = character == '\\' && !escaped;
        ends.then_some(at)
    })
}

fn unescape(text: &str, quotes: bool) -> Result<String, String> {
    let (mut out, mut characters) = (String::new(), text.chars());
    while let Some(character) = characters.next() {
        out.push(match (character, (character == '\\').then(|| characters.next()).flatten()) {
            ('\\', Some('\\')) => '\\',
            ('\\', Some('n')) => '\n',
            ('\\', Some('"')) if quotes => '"',
            ('\\', _) => return Err("an unknown escape".to_owned()),
            (plain, _) => plain,
        });
    }
    Ok(out)
}

fn is_name(text: &str) -> bool {
    is_label(&text.replace(':', "_"))
}

fn is_label(text: &str) -> bool {
    let first = text.bytes().next().is_some_and(|byte| byte.is_ascii_alphabetic() || byte == b'_');
    first && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

fn conventions(family: &Family) -> Result<(), String> {
    let Family { name, help, kind, samples } = family;
    let kind = kind.as_deref().ok_or("it has no TYPE")?;
    help.as_ref().filter(|help| help.ends_with('.')).ok_or("it has no sentence as HELP")?;
    if (kind == "counter") != name.ends_with("_total") {
        return Err(format!("a {kind} of that name"));
    }
    if !name.starts_with("kvd_") && !name.starts_with("process_") {
        return Err("it does not say whose it is".to_owned());
    }
    let units = ["milli", "micro", "nanos", "_ms", "_mib", "_kb", "percent", "minutes"];
    if units.iter().any(|unit| name.contains(unit))
        || (name.contains("duration") && !name.contains("_seconds"))
    {
        return Err("it is not in a base unit".to_owned());
    }
    let natural = |value: f64| value >= 0.0 && !value.is_nan();
    if kind != "gauge" && !samples.iter().all(|(_, _, value)| natural(*value)) {
        return Err("it is below zero".to_owned());
    }
    Ok(())
}

fn histogram(family: &Family) -> Result<(), String> {
    let of = |suffix: &str| {
        let name = format!("{}{suffix}", family.name);
        family.samples.iter().filter(move |(is, ..)| *is == name).collect::<Vec<_>>()
    };
    let (buckets, sums, counts) = (of("_bucket"), of("_sum"), of("_count"));
    let ([_], [(_, _, count)]) = (&sums[..], &counts[..]) else {
        return Err("it has not one sum and one count".to_owned());
    };
    let bound = |labels: &Labels| labels.get("le").and_then(|le| le.parse::<f64>().ok());
    let bounds: Option<Vec<f64>> = buckets.iter().map(|(_, labels, _)| bound(labels)).collect();
    let bounds = bounds.ok_or("a bucket without a bound")?;
    let values: Vec<f64> = buckets.iter().map(|(_, _, value)| *value).collect();
    let ascend = bounds.windows(2).all(|pair| pair[0] < pair[1]);
    if !ascend || !values.is_sorted() || bounds.last() != Some(&f64::INFINITY) || values.last() != Some(count)
    {
        return Err("its buckets do not add up".to_owned());
    }
    Ok(())
}

#[test]
fn the_reader_sees_what_is_wrong() {
    let good = "# HELP kvd_x_total A \\\\ count.\n# TYPE kvd_x_total counter\nkvd_x_total{a=\"b\\\"\\n\",c=\"}\"} 1\nkvd_x_total 2.5e3\n";
    let page = check(good).unwrap();
    assert_eq!(
        (page.value("kvd_x_total", &[("a", "b\"\n"), ("c", "}")]), page.samples("kvd_x_total").count()),
        (1.0, 2)
    );
    for (from, to) in [
        ("2.5e3\n", "2.5e3"),
        ("2.5e3", "2,5"),
        ("2.5e3", "inf"),
        ("2.5e3", " 1"),
        ("2.5e3\n", "1\nkvd_x_total 1\n"),
        ("2.5e3\n", "1\nkvd_y_total 1\n"),
        ("2.5e3\n", "1\n\n"),
        ("2.5e3\n", "1\n# HELP kvd_x_total Again.\n"),
        ("a=\"b", "a-a=\"b"),
        ("a=\"b", "c=\"b"),
        ("b\\\"\\n", "b\\t"),
        ("\"} 1", "\",} 1"),
        ("\"} 1", "\" 1"),
        ("counter", "count"),
        ("counter", "gauge"),
        ("# TYPE kvd_x_total counter\n", ""),
        ("# HELP kvd_x_total A \\\\ count.\n", ""),
        ("count.", "count"),
        ("A \\\\", "A \\x"),
        ("2.5e3", "-1"),
    ] {
        let bad = good.replacen(from, to, 1);
        assert!(bad != good && check(&bad).is_err(), "{from:?} {to:?}: {bad}");
    }
    assert!(check(&good.replace("kvd_x", "kvd_9x")).is_ok() && check(&good.replace("kvd_x", "9x")).is_err());
    assert!(check(&good.replace("kvd_x_total", "kvd_wait_ms_total")).is_err());
    let histogram = "# HELP kvd_t_seconds T.\n# TYPE kvd_t_seconds histogram\nkvd_t_seconds_bucket{le=\"0.1\"} 1\n\
                     kvd_t_seconds_bucket{le=\"+Inf\"} 2\nkvd_t_seconds_sum 3\nkvd_t_seconds_count 2\n";
    check(histogram).unwrap();
    for (from, to) in [
        ("count 2", "count 3"),
        ("\"0.1\"} 1", "\"0.1\"} 3"),
        ("+Inf", "9"),
        ("kvd_t_seconds_sum 3\n", ""),
        ("le=\"0.1\"", "x=\"0.1\""),
    ] {
        assert!(check(&histogram.replacen(from, to, 1)).is_err(), "{from} {to}");
    }
}
