//! `generate`: files for the systems around a cluster, to be read, changed and installed. They are files beside this one,
//! and tests hold them to what the programs have: metrics that are shown, commands and flags that parse.

use clap::{Args, ValueEnum};

use crate::report::{Body, Document, Report};

/// What can be generated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    /// Alert rules for Prometheus
    Alerts,
    /// A dashboard for Grafana over the metrics that Prometheus has
    Grafana,
    /// A unit for systemd, of which each instance is a server
    Systemd,
    /// Lines for /etc/cron.d
    Cron,
}

/// Arguments of `generate`.
#[derive(Args, Debug, PartialEq)]
#[command(after_help = "Examples:\n  kvctl generate alerts > kvd.rules.yml\n  \
                        kvctl generate grafana > kvd.json\n  \
                        kvctl generate systemd > /etc/systemd/system/kvd@.service\n  \
                        kvctl generate cron > /etc/cron.d/kv")]
pub struct Generate {
    /// What
    pub kind: Kind,
}

impl Generate {
    pub(super) fn report(&self) -> Report {
        Report::new(Document::new("generate"), Body::Text(self.kind.text().to_owned()))
    }
}

impl Kind {
    fn text(self) -> &'static str {
        match self {
            Self::Alerts => include_str!("generate/alerts.yml"),
            Self::Grafana => include_str!("generate/grafana.json"),
            Self::Systemd => include_str!("generate/kvd@.service"),
            Self::Cron => include_str!("generate/kv.cron"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use clap::Parser as _;

    use super::*;
    use crate::Line;

    #[test]
    fn what_cron_runs_are_checks() {
        let lines = Kind::Cron.text().lines().filter(|line| line.contains(" kvctl "));
        let mut checks = 0;
        for line in lines {
            let (when, command) = line.split_once(" kvmon ").unwrap();
            assert_eq!(when.split(' ').count(), 5, "{line}");
            // cron takes a bare percent sign for the end of a line.
            assert!(!line.contains('%'), "{line}");
            Line::try_parse_from(shlex::split(command).unwrap()).unwrap_or_else(|error| panic!("{error}"));
            checks += 1;
        }
        assert_eq!(checks, 3);
    }

    #[test]
    fn the_unit_is_watched_and_closed() {
        let unit = Kind::Systemd.text();
        let settings: BTreeSet<&str> = unit.lines().filter(|line| !line.starts_with(['#', '['])).collect();
        for setting in [
            "Type=notify",
            "NotifyAccess=main",
            "WatchdogSec=30s",
            "ExecReload=/bin/kill -HUP $MAINPID",
            "Restart=on-failure",
            "RestartPreventExitStatus=2 7 9",
            "User=kv",
            "StateDirectory=kv",
            "RuntimeDirectory=kv",
            "LimitCORE=0",
            "ProtectSystem=strict",
            "NoNewPrivileges=yes",
            "CapabilityBoundingSet=",
            "RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK",
        ] {
            assert!(settings.contains(setting), "{setting}");
        }
        let repeated = settings.iter().filter(|line| unit.matches(&format!("\n{line}\n")).count() > 1);
        assert_eq!(repeated.filter(|line| !line.is_empty()).count(), 0);
    }

    #[test]
    fn every_panel_has_a_place_of_its_own_and_something_to_show() {
        let text = Kind::Grafana.text();
        let dashboard: serde_json::Value = serde_json::from_str(text).unwrap();
        let panels = dashboard["panels"].as_array().unwrap();
        let (mut ids, mut taken) = (BTreeSet::new(), BTreeSet::new());
        for panel in panels {
            assert!(ids.insert(panel["id"].as_u64().unwrap()), "{panel}");
            let [x, y, w, h] = ["x", "y", "w", "h"].map(|side| panel["gridPos"][side].as_u64().unwrap());
            assert!(x + w <= 24, "{panel}");
            for cell in (x..x + w).flat_map(|x| (y..y + h).map(move |y| (x, y))) {
                assert!(taken.insert(cell), "{panel} lies on another");
            }
            assert!(!panel["title"].as_str().unwrap().is_empty());
            if panel["type"] == "row" {
                continue;
            }
            let targets = panel["targets"].as_array().unwrap();
            assert!(!targets.is_empty() && panel["fieldConfig"]["defaults"]["unit"].is_string(), "{panel}");
            for target in targets {
                let expression = target["expr"].as_str().unwrap();
                assert!(expression.contains(r#"{job=~"$job",instance=~"$instance""#), "{expression}");
                assert_eq!(expression.matches('(').count(), expression.matches(')').count(), "{expression}");
                assert!(!target["legendFormat"].as_str().unwrap().is_empty(), "{expression}");
            }
        }
        assert!(ids.len() >= 30);
    }

    #[test]
    fn every_alert_says_what_is_so_and_what_to_do() {
        let alerts: Vec<&str> = Kind::Alerts.text().split("- alert: ").skip(1).collect();
        assert!(alerts.len() >= 10);
        for alert in alerts {
            for part in ["\n        expr: ", "severity: ", "summary: \"", "description: \""] {
                assert_eq!(alert.matches(part).count(), 1, "{part} in {alert}");
            }
            assert!(!alert.contains('\t'), "{alert}");
        }
    }
}
