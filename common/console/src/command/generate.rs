//! `generate`: files for the systems around a cluster, to be read, changed and installed. They are files beside this one,
//! and tests hold them to what the programs have: metrics that are shown, commands and flags that parse.

use clap::{Args, ValueEnum};

use crate::report::{Body, Document, Report};

/// What can be generated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    /// Alert rules for Prometheus
    Alerts,
    /// A unit for systemd, of which each instance is a server
    Systemd,
    /// Lines for /etc/cron.d
    Cron,
}

/// Arguments of `generate`.
#[derive(Args, Debug, PartialEq)]
#[command(after_help = "Examples:\n  kvctl generate alerts > kvd.rules.yml\n  \
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
            Self::Systemd => include_str!("generate/kvd@.service"),
            Self::Cron => include_str!("generate/kv.cron"),
        }
    }
}

#[cfg(test)]
mod tests {
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
