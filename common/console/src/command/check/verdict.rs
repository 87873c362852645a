//! What a check came to, and how that is written for those who ask: the line of a Nagios plugin, the text format of
//! Prometheus, JSON, a table.

use std::{collections::BTreeMap, fmt::Write as _};

use serde_json::{Value, json};

use super::range::{Range, Thresholds};
use crate::{
    exit::Exit,
    report::{Document, Table},
};

/// The four answers a plugin can give, the worst last: of several checks the worst counts, and a certain failure is
/// worse than an unknown one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Status {
    Ok,
    Warning,
    Unknown,
    Critical,
}

impl Status {
    /// The exit code.
    pub(crate) fn code(self) -> u8 {
        match self {
            Self::Ok => 0,
            Self::Warning => 1,
            Self::Critical => 2,
            Self::Unknown => 3,
        }
    }

    /// How the program ends.
    pub(crate) fn exit(self) -> Exit {
        if self == Self::Ok { Exit::Success } else { Exit::Chosen(self.code()) }
    }

    /// As plugins spell it.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Ok => "OK",
            Self::Warning => "WARNING",
            Self::Critical => "CRITICAL",
            Self::Unknown => "UNKNOWN",
        }
    }
}

/// Something that is measured: its names, and how Prometheus knows it.
#[derive(Debug, PartialEq)]
pub(crate) struct Measure {
    /// In perfdata, JSON and thresholds.
    pub(crate) name: &'static str,
    /// Another name for thresholds.
    pub(crate) short: &'static str,
    /// In perfdata: `ms`, `B` or nothing.
    pub(crate) unit: &'static str,
    /// The metric, in base units.
    pub(crate) metric: &'static str,
    /// What it is, in a sentence.
    pub(crate) help: &'static str,
}

/// One measured value with what bounds it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Item {
    pub(crate) measure: &'static Measure,
    pub(crate) node: Option<String>,
    pub(crate) value: f64,
    pub(crate) warn: Option<Range>,
    pub(crate) crit: Option<Range>,
    pub(crate) min: Option<f64>,
    pub(crate) max: Option<f64>,
}

impl Item {
    /// Bounded as the line says, else as the check does without being told.
    pub(super) fn new(measure: &'static Measure, node: Option<&str>, value: f64, bounds: &Bounds) -> Self {
        Self {
            measure,
            node: node.map(str::to_owned),
            value,
            warn: bounds.warn.of(measure.name),
            crit: bounds.crit.of(measure.name),
            min: None,
            max: None,
        }
    }

    pub(super) fn or(mut self, warn: Option<Range>, crit: Option<Range>) -> Self {
        self.warn = self.warn.or(warn);
        self.crit = self.crit.or(crit);
        self
    }

    pub(super) fn zero_based(mut self) -> Self {
        self.min = Some(0.0);
        self
    }

    pub(super) fn up_to(mut self, max: f64) -> Self {
        self.max = Some(max);
        self
    }

    /// By its bounds alone.
    pub(crate) fn status(&self) -> Status {
        let alarms = |range: Option<Range>| range.is_some_and(|range| range.alarms(self.value));
        match (alarms(self.crit), alarms(self.warn)) {
            (true, _) => Status::Critical,
            (false, true) => Status::Warning,
            (false, false) => Status::Ok,
        }
    }

    /// The label in perfdata: one a node.
    fn label(&self) -> String {
        let label = match &self.node {
            Some(node) => format!("{}_{node}", self.measure.name),
            None => self.measure.name.to_owned(),
        };
        label.chars().map(|it| if it == '=' || it == '\'' || it.is_control() { '_' } else { it }).collect()
    }

    /// For the summary: what is out of bounds, and by how much nobody need guess.
    pub(super) fn words(&self) -> String {
        let node = self.node.as_ref().map_or_else(String::new, |node| format!("{node} "));
        format!("{node}{} {}{}", self.measure.name, shown(self.value), self.measure.unit)
    }

    fn perfdata(&self) -> String {
        let range = |range: Option<Range>| range.map_or_else(String::new, |range| range.to_string());
        let bound = |bound: Option<f64>| bound.map_or_else(String::new, shown);
        let fields = [range(self.warn), range(self.crit), bound(self.min), bound(self.max)].join(";");
        let line = format!("'{}'={}{};{fields}", self.label(), shown(self.value), self.measure.unit);
        line.trim_end_matches(';').to_owned()
    }

    fn json(&self) -> Value {
        json!({
            "name": self.measure.name,
            "node": self.node,
            "value": self.value,
            "unit": self.measure.unit,
            "warn": self.warn.map(|range| range.to_string()),
            "crit": self.crit.map(|range| range.to_string()),
            "min": self.min,
            "max": self.max,
            "status": self.status().word(),
        })
    }

    fn cells(&self) -> Vec<String> {
        let range = |range: Option<Range>| range.map_or_else(|| "-".to_owned(), |range| range.to_string());
        vec![
            self.measure.name.to_owned(),
            self.node.clone().unwrap_or_else(|| "-".to_owned()),
            format!("{}{}", shown(self.value), self.measure.unit),
            range(self.warn),
            range(self.crit),
            self.status().word().to_owned(),
        ]
    }
}

/// What `-w` and `-c` say.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Bounds {
    pub(crate) warn: Thresholds,
    pub(crate) crit: Thresholds,
}

/// A number as short as it can be: whole where it is, three digits after the point at most.
fn shown(value: f64) -> String {
    let rounded = (value * 1000.0).round() / 1000.0;
    // Adding zero turns -0 into 0.
    format!("{}", rounded + 0.0)
}

/// What one check came to.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Verdict {
    pub(crate) check: &'static str,
    pub(crate) status: Status,
    pub(crate) summary: String,
    pub(crate) items: Vec<Item>,
    /// Of which checks it is made, where it is made of several.
    pub(crate) parts: Vec<(&'static str, Status)>,
}

impl Verdict {
    /// Nobody knows, and why.
    pub(crate) fn unknown(check: &'static str, why: impl Into<String>) -> Self {
        Self { check, status: Status::Unknown, summary: why.into(), items: Vec::new(), parts: Vec::new() }
    }

    /// The one line of a plugin.
    pub(crate) fn nagios(&self) -> String {
        // A bar begins the perfdata; the line ends at the first newline.
        let clean = |character: char| match character {
            '|' => '/',
            character if character.is_control() => ' ',
            character => character,
        };
        let summary: String = self.summary.chars().map(clean).collect();
        let line = format!("KV {} {} - {summary}", self.check.to_uppercase(), self.status.word());
        let perfdata: Vec<String> = self.items.iter().map(Item::perfdata).collect();
        if perfdata.is_empty() { line } else { format!("{line} | {}", perfdata.join(" ")) }
    }

    /// One object.
    pub(crate) fn document(&self) -> Document {
        Document::new("check")
            .with("check", self.check)
            .with("status", self.status.word())
            .with("exit", self.status.code())
            .with("summary", self.summary.as_str())
            .with("checks", self.parts.iter().map(part).collect::<Vec<Value>>())
            .with("items", self.items.iter().map(Item::json).collect::<Vec<Value>>())
    }

    /// Rows for people.
    pub(crate) fn table(&self) -> Table {
        let head = vec![format!("{} {}", self.check, self.status.word()), self.summary.clone()];
        let columns = vec!["NAME", "NODE", "VALUE", "WARN", "CRIT", "STATUS"];
        Table { head, columns, rows: self.items.iter().map(Item::cells).collect(), findings: Vec::new() }
    }

    /// The text format of Prometheus; `last_success` in seconds since 1970, as is `now`.
    pub(crate) fn prometheus(&self, now: f64, last_success: Option<f64>) -> String {
        let mut out = String::new();
        family(&mut out, STATUS, "0 OK, 1 WARNING, 2 CRITICAL, 3 UNKNOWN.");
        for (check, status) in [(self.check, self.status)].iter().chain(&self.parts) {
            sample(&mut out, STATUS, &[("check", check)], f64::from(status.code()));
        }
        let own = [("check", self.check)];
        let mut one = |metric: &str, help: &str, value: f64| {
            family(&mut out, metric, help);
            sample(&mut out, metric, &own, value);
        };
        one(LAST_RUN, "When the check ran last.", now);
        if let Some(when) = last_success {
            one(LAST_SUCCESS, "When the check was OK last.", when);
        }
        let mut families: BTreeMap<&str, Vec<&Item>> = BTreeMap::new();
        for item in &self.items {
            families.entry(item.measure.metric).or_default().push(item);
        }
        for (metric, items) in families {
            family(&mut out, metric, items.first().map_or("", |item| item.measure.help));
            for item in items {
                let labels: Vec<(&str, &str)> =
                    item.node.iter().map(|node| ("node", node.as_str())).collect();
                let factor = if item.measure.unit == "ms" { 0.001 } else { 1.0 };
                sample(&mut out, metric, &labels, item.value * factor);
            }
        }
        out
    }
}

fn part((check, status): &(&'static str, Status)) -> Value {
    json!({"check": check, "status": status.word()})
}

const STATUS: &str = "kv_check_status";
const LAST_RUN: &str = "kv_check_last_run_timestamp_seconds";
const LAST_SUCCESS: &str = "kv_check_last_success_timestamp_seconds";

/// When the check was OK last, by the file that an earlier run of it wrote.
pub(crate) fn last_success(text: &str, check: &str) -> Option<f64> {
    let begin = format!("{LAST_SUCCESS}{{check=\"{check}\"}} ");
    text.lines().find_map(|line| line.strip_prefix(&begin)?.parse().ok())
}

fn family(out: &mut String, metric: &str, help: &str) {
    // Writing to a string cannot fail.
    let _ = writeln!(out, "# HELP {metric} {help}\n# TYPE {metric} gauge");
}

fn sample(out: &mut String, metric: &str, labels: &[(&str, &str)], value: f64) {
    let escaped = |text: &str| text.replace('\\', r"\\").replace('"', "\\\"").replace('\n', r"\n");
    let labels: Vec<String> =
        labels.iter().map(|(name, value)| format!("{name}=\"{}\"", escaped(value))).collect();
    let labels = if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
    let _ = writeln!(out, "{metric}{labels} {value}");
}

#[cfg(test)]
mod tests;
