//! The text format of Prometheus, version 0.0.4: families of samples, each under its `HELP` and its `TYPE`.

use std::{fmt::Write as _, time::Duration};

use super::meter::{BOUNDS, Buckets, Histogram};

/// What a page is, for the header of the answer.
pub(crate) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Labels of one sample.
pub(crate) type Labels<'a> = &'a [(&'a str, &'a str)];

/// A page that is being written. Writing to a string does not fail, so results are let go.
#[derive(Default)]
pub(crate) struct Page(String);

impl Page {
    /// The text.
    pub(crate) fn into_text(self) -> String {
        self.0
    }

    /// A counter with one sample.
    pub(crate) fn counter(&mut self, name: &str, help: &str, value: u64) {
        self.counters(name, help, [(&[][..], value)]);
    }

    /// A counter with a sample for each set of labels.
    pub(crate) fn counters<'a>(
        &mut self,
        name: &str,
        help: &str,
        samples: impl IntoIterator<Item = (Labels<'a>, u64)>,
    ) {
        debug_assert!(name.ends_with("_total"), "{name} is a counter");
        self.family(name, "counter", help);
        samples.into_iter().for_each(|(labels, value)| self.sample(name, labels, &value.to_string()));
    }

    /// A gauge with one sample.
    pub(crate) fn gauge(&mut self, name: &str, help: &str, value: impl Into<i128>) {
        self.gauges(name, help, [(&[][..], value)]);
    }

    /// A gauge with a sample for each set of labels.
    pub(crate) fn gauges<'a, V: Into<i128>>(
        &mut self,
        name: &str,
        help: &str,
        samples: impl IntoIterator<Item = (Labels<'a>, V)>,
    ) {
        self.family(name, "gauge", help);
        for (labels, value) in samples {
            self.sample(name, labels, &value.into().to_string());
        }
    }

    /// A counter or gauge of seconds.
    pub(crate) fn seconds(&mut self, name: &str, kind: &str, help: &str, value: Duration) {
        self.family(name, kind, help);
        self.sample(name, &[], &seconds(value));
    }

    /// A histogram of seconds.
    pub(crate) fn histogram(&mut self, name: &str, help: &str, histogram: &Histogram) {
        let Buckets { up_to, count, sum } = histogram.read();
        self.family(name, "histogram", help);
        let bucket = format!("{name}_bucket");
        for ((bound, _), up_to) in BOUNDS.iter().zip(up_to) {
            self.sample(&bucket, &[("le", bound)], &up_to.to_string());
        }
        self.sample(&bucket, &[("le", "+Inf")], &count.to_string());
        self.sample(&format!("{name}_sum"), &[], &seconds(sum));
        self.sample(&format!("{name}_count"), &[], &count.to_string());
    }

    fn family(&mut self, name: &str, kind: &str, help: &str) {
        let help = help.replace('\\', "\\\\").replace('\n', "\\n");
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    fn sample(&mut self, name: &str, labels: Labels<'_>, value: &str) {
        self.0 += name;
        for (at, (label, value)) in labels.iter().enumerate() {
            let value = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
            let before = if at == 0 { '{' } else { ',' };
            let _ = write!(self.0, "{before}{label}=\"{value}\"");
        }
        let close = if labels.is_empty() { "" } else { "}" };
        let _ = writeln!(self.0, "{close} {value}");
    }
}

/// Seconds to the nanosecond, without the detours of a floating-point number.
fn seconds(span: Duration) -> String {
    format!("{}.{:09}", span.as_secs(), span.subsec_nanos())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_end_a_label_or_a_line_is_escaped() {
        let mut page = Page::default();
        page.gauges("a", "one\nline \\ more", [(&[("x", "q\"u\\o\nte"), ("y", "")][..], -3)]);
        let want = "# HELP a one\\nline \\\\ more\n# TYPE a gauge\na{x=\"q\\\"u\\\\o\\nte\",y=\"\"} -3\n";
        assert_eq!(page.into_text(), want);
    }

    #[test]
    fn a_histogram_has_buckets_a_sum_and_a_count() {
        let (mut page, histogram) = (Page::default(), Histogram::default());
        histogram.observe(Duration::from_micros(70));
        histogram.observe(Duration::from_secs(11));
        page.histogram("t_seconds", "Time.", &histogram);
        let text = page.into_text();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[2..4], ["t_seconds_bucket{le=\"0.00005\"} 0", "t_seconds_bucket{le=\"0.0001\"} 1"]);
        let last = ["t_seconds_bucket{le=\"+Inf\"} 2", "t_seconds_sum 11.000070000", "t_seconds_count 2"];
        assert_eq!(lines[lines.len() - 3..], last);
    }
}
