//! Ranges in the grammar of the Monitoring Plugins guidelines, and the thresholds a command line names.
//!
//! A range says what is well: `10` is 0 to 10, `10:` is 10 and more, `~:10` is 10 and less, `10:20` is between, and a
//! leading `@` turns it over, so that what is inside alarms. A number may end in `K`, `M`, `G` or `T` (1024 each).

use std::{fmt, str::FromStr};

use crate::error::Failure;

/// What is well, or with `inside` what is not. Both ends belong to it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Range {
    start: f64,
    end: f64,
    inside: bool,
}

impl Range {
    /// Well from here on.
    pub(super) fn at_least(start: f64) -> Self {
        Self { start, end: f64::INFINITY, inside: false }
    }

    /// Well from zero to here.
    pub(super) fn at_most(end: f64) -> Self {
        Self { start: 0.0, end, inside: false }
    }

    /// Whether the value is one to raise an alarm for.
    pub(super) fn alarms(&self, value: f64) -> bool {
        (self.start <= value && value <= self.end) == self.inside
    }
}

impl FromStr for Range {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (inside, rest) = text.strip_prefix('@').map_or((false, text), |rest| (true, rest));
        let (start, end) = match rest.split_once(':') {
            None => (0.0, number(rest)?),
            Some(("~", end)) => (f64::NEG_INFINITY, upper(end)?),
            Some(("", end)) => (0.0, upper(end)?),
            Some((start, end)) => (number(start)?, upper(end)?),
        };
        if start > end {
            return Err(format!("`{text}` begins above its end"));
        }
        Ok(Self { start, end, inside })
    }
}

fn upper(text: &str) -> Result<f64, String> {
    if text.is_empty() { Ok(f64::INFINITY) } else { number(text) }
}

fn number(text: &str) -> Result<f64, String> {
    let wrong = || format!("`{text}` is no number; a range is 10, 10:, ~:10, 10:20 or @10:20");
    let (digits, factor) = match text.char_indices().last() {
        Some((at, 'K')) => (text.get(..at), 1024.0),
        Some((at, 'M')) => (text.get(..at), 1_048_576.0),
        Some((at, 'G')) => (text.get(..at), 1_073_741_824.0),
        Some((at, 'T')) => (text.get(..at), 1_099_511_627_776.0),
        _ => (Some(text), 1.0),
    };
    let digits = digits.unwrap_or_default();
    // Rust would also read `inf`, `nan` and `1e9`, which no other reader of perfdata does.
    let plain = digits.strip_prefix('-').unwrap_or(digits);
    let decimal = plain.chars().all(|digit| digit.is_ascii_digit() || digit == '.');
    if !decimal || !plain.starts_with(|digit: char| digit.is_ascii_digit()) || plain.ends_with('.') {
        return Err(wrong());
    }
    digits.parse::<f64>().map(|value| value * factor).map_err(|_| wrong())
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.inside { "@" } else { "" })?;
        if self.start == f64::NEG_INFINITY {
            f.write_str("~:")?;
        } else if self.start != 0.0 || self.end.is_infinite() {
            write!(f, "{}:", self.start)?;
        }
        if self.end.is_infinite() { Ok(()) } else { write!(f, "{}", self.end) }
    }
}

/// One `-w` or `-c`: a range, for the measure it names or for the check's main one.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Threshold {
    name: Option<String>,
    range: Range,
}

impl FromStr for Threshold {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once('=') {
            Some(("", _)) => Err(format!("`{text}` names nothing before the =")),
            Some((name, range)) => Ok(Self { name: Some(name.to_owned()), range: range.parse()? }),
            None => Ok(Self { name: None, range: text.parse()? }),
        }
    }
}

/// All thresholds of a line, asked by the name of a measure.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Thresholds {
    named: Vec<(&'static str, Range)>,
}

impl Thresholds {
    /// Gives each its measure: `names` are those of the check with their other names, the first name of `main` is
    /// meant by a range without one.
    pub(super) fn new(
        given: &[Threshold],
        names: &[(&'static str, &'static str)],
        main: Option<&'static str>,
    ) -> Result<Self, Failure> {
        let known = || names.iter().map(|(_, short)| *short).collect::<Vec<_>>().join(", ");
        let mut bounds = Vec::new();
        for Threshold { name, range } in given {
            let found = match name {
                None => main,
                Some(name) => names.iter().find(|(full, short)| name == full || name == short).map(|it| it.0),
            };
            let Some(found) = found else {
                let what = name.as_ref().map_or_else(
                    || format!("`{range}` does not say what it bounds"),
                    |name| format!("this check does not measure `{name}`"),
                );
                return Err(Failure::usage(what).hint(format!("NAME=RANGE with one of: {}", known())));
            };
            bounds.push((found, *range));
        }
        Ok(Self { named: bounds })
    }

    /// The last range that was given for this measure.
    pub(super) fn of(&self, name: &str) -> Option<Range> {
        self.named.iter().rev().find(|(named, _)| *named == name).map(|(_, range)| *range)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The table of the guidelines: range, values that alarm, values that do not.
    #[test]
    fn ranges_alarm_as_the_guidelines_say() {
        for (text, alarms, quiet) in [
            ("10", &[-0.1, 10.1][..], &[0.0, 5.0, 10.0][..]),
            ("10:", &[9.9, -1.0], &[10.0, 1e9]),
            ("~:10", &[10.1], &[-1e9, 10.0]),
            ("10:20", &[9.9, 20.1], &[10.0, 20.0]),
            ("@10:20", &[10.0, 15.0, 20.0], &[9.9, 20.1]),
            ("@0:0", &[0.0], &[1.0, -1.0]),
            (":5", &[5.5, -1.0], &[0.0]),
            ("-5:-1", &[0.0, -6.0], &[-3.0]),
            ("1.5", &[1.6], &[1.5]),
            ("2K", &[2049.0], &[2048.0]),
        ] {
            let range: Range = text.parse().unwrap();
            assert!(alarms.iter().all(|value| range.alarms(*value)), "{text} alarms");
            assert!(!quiet.iter().any(|value| range.alarms(*value)), "{text} is quiet");
            let again: Range = range.to_string().parse().unwrap();
            assert_eq!(again, range, "{text} is shown as {range}, which means the same");
        }
    }

    #[test]
    fn what_is_no_range_is_refused() {
        for text in
            ["", "@", "x", "10:5", "1e3", "nan", "inf", "~", "1:2:3", "--1", "1.", ".5", "K", "1:~", "é"]
        {
            assert!(text.parse::<Range>().is_err(), "{text}");
        }
    }

    #[test]
    fn thresholds_go_by_either_name_or_to_the_main_measure() {
        let names = [("lag", "lag"), ("cert_days", "cert")];
        let given: Vec<Threshold> =
            ["lag=5", "cert=14:", "lag=7"].iter().map(|text| text.parse().unwrap()).collect();
        let thresholds = Thresholds::new(&given, &names, None).unwrap();
        assert_eq!(thresholds.of("lag"), Some(Range::at_most(7.0)), "the last one counts");
        assert_eq!(thresholds.of("cert_days"), Some(Range::at_least(14.0)));
        let bare: Vec<Threshold> = vec!["9".parse().unwrap()];
        assert_eq!(Thresholds::new(&bare, &names, Some("lag")).unwrap().of("lag"), Some(Range::at_most(9.0)));
        assert!(Thresholds::new(&bare, &names, None).is_err(), "a cluster has no main measure");
        let other: Vec<Threshold> = vec!["disk=9".parse().unwrap()];
        assert!(Thresholds::new(&other, &names, None).unwrap_err().hint.unwrap().contains("cert"));
        assert!("=5".parse::<Threshold>().is_err());
    }
}
