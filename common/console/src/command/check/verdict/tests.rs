//! Verdicts as each reader gets them, word for word.

use super::*;
use crate::command::check::judge;

fn item(measure: &'static Measure, node: Option<&str>, value: f64, warn: &str, crit: &str) -> Item {
    let range = |text: &str| (!text.is_empty()).then(|| text.parse().unwrap());
    Item::new(measure, node, value, &Bounds::default()).or(range(warn), range(crit))
}

/// The example of the design.
fn verdict() -> Verdict {
    Verdict {
        check: "cluster",
        status: Status::Warning,
        summary: "n3 cert 6d".into(),
        items: vec![
            item(&judge::VOTERS_UP, None, 3.0, "", "2:").zero_based().up_to(3.0),
            item(&judge::MOST_LAG, None, 123.0, "", "1000").zero_based(),
            item(&judge::READ, None, 0.6, "", "").zero_based(),
            item(&judge::LEAST_DAYS, None, 6.0, "14:", ""),
        ],
        parts: Vec::new(),
    }
}

#[test]
fn a_plugin_says_one_line() {
    let want = "KV CLUSTER WARNING - n3 cert 6d | 'voters_up'=3;;2:;0;3 'lag'=123;;1000;0 'read'=0.6ms;;;0 \
                'cert_days'=6;14:";
    assert_eq!(verdict().nagios(), want);
    let odd = Verdict::unknown("live", "a|b\nc\u{1b}[2J");
    assert_eq!(odd.nagios(), "KV LIVE UNKNOWN - a/b c [2J", "nothing in a summary ends it early");
}

#[test]
fn a_node_may_have_any_name() {
    let odd = item(&judge::RTT, Some("n'1=x\n\"\\"), 0.25, "", "");
    let verdict = Verdict { items: vec![odd], ..verdict() };
    assert!(verdict.nagios().ends_with("| 'rtt_n_1_x_\"\\'=0.25ms"), "{}", verdict.nagios());
    let text = verdict.prometheus(1.0, None);
    assert!(text.ends_with("kv_rtt_seconds{node=\"n'1=x\\n\\\"\\\\\"} 0.00025\n"), "{text}");
}

#[test]
fn prometheus_gets_base_units_and_times() {
    let text = verdict().prometheus(1_700_000_000.5, Some(1_600_000_000.0));
    let samples: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
    let want = [
        "kv_check_status{check=\"cluster\"} 1",
        "kv_check_last_run_timestamp_seconds{check=\"cluster\"} 1700000000.5",
        "kv_check_last_success_timestamp_seconds{check=\"cluster\"} 1600000000",
        "kv_certificate_days_min 6",
        "kv_lag_entries_max 123",
        "kv_read_seconds 0.0006",
        "kv_voters_up 3",
    ];
    assert_eq!(samples, want);
    assert_eq!(last_success(&text, "cluster"), Some(1_600_000_000.0));
    assert_eq!(last_success(&text, "all"), None);
}

#[test]
fn programs_get_one_object() {
    let json = verdict().document().to_json();
    let begin = "{\"schema\":\"kvctl.check/v1\",\"check\":\"cluster\",\"status\":\"WARNING\",\"exit\":1,\"summary\":\"n3 cert 6d\",\"checks\":[],\"items\":[";
    assert!(json.starts_with(begin), "{json}");
    let json: Value = serde_json::from_str(&json).unwrap();
    let days = &json["items"][3];
    assert_eq!(
        (&days["name"], &days["warn"], &days["crit"]),
        (&"cert_days".into(), &"14:".into(), &Value::Null)
    );
    assert_eq!((&days["value"], &days["status"]), (&6.0.into(), &"WARNING".into()));
}

#[test]
fn numbers_are_short_and_exact_enough() {
    let shown = [0.0, -0.0, 3.0, 0.6, 0.1 + 0.2, 1_123_050.0, 12.3456, -2.0, -0.0001].map(shown);
    assert_eq!(shown, ["0", "0", "3", "0.6", "0.3", "1123050", "12.346", "-2", "0"]);
}

#[test]
fn the_worst_is_certain_failure() {
    let mut all = [Status::Critical, Status::Ok, Status::Unknown, Status::Warning];
    all.sort();
    assert_eq!(all.map(Status::code), [0, 1, 3, 2]);
}
