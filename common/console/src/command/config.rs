//! `config view`: every setting as it holds, and with `--origin` where each came from. It shows what is missing instead of
//! failing for it, since that is what one looks for here; a file that is damaged is refused as by every command.

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::Line;
use crate::{
    connect,
    context::{Effective, Found, Origin, Pem, Places, effective},
    error::Failure,
    report::{Body, Document, Report, Table},
    text,
};

/// Arguments of `config`.
#[derive(Args, Debug, PartialEq)]
#[command(after_help = "Examples:\n  kvctl config view\n  kvctl config view --origin")]
pub struct Config {
    /// What
    #[command(subcommand)]
    pub what: What,
}

/// What can be done with the configuration.
#[derive(Subcommand, Debug, PartialEq)]
pub enum What {
    /// Show every setting as it holds
    View(View),
}

/// Arguments of `config view`.
#[derive(Args, Debug, PartialEq)]
#[command(
    after_help = "Examples:\n  kvctl config view\n  kvctl config view --origin\n  kvctl -C prod config view --origin -o json"
)]
pub struct View {
    /// Also where each came from
    #[arg(long)]
    pub origin: bool,
}

/// One setting.
struct Setting {
    /// What people call it, which is how its flag is called.
    name: &'static str,
    /// Its id in the grammar.
    id: &'static str,
    value: Option<String>,
    origin: Option<Origin>,
}

impl Config {
    /// What `config view --origin` shows, where it shows anything.
    pub(super) fn seen(line: &Line, places: &Places) -> Option<Document> {
        let view = Self { what: What::View(View { origin: true }) };
        view.report(line, places).ok().map(|report| report.document)
    }

    pub(super) fn report(&self, line: &Line, places: &Places) -> Result<Report, Failure> {
        let What::View(view) = &self.what;
        let effective = effective(&line.connection, places)?;
        let settings = settings(line, &effective);
        let place = |setting: &Setting| {
            let origin = setting.origin.as_ref()?;
            let place = origin.place(setting.id, line.sources);
            Some((origin.word(setting.id, line.sources), place))
        };
        let cells = |setting: &Setting| {
            let mut cells =
                vec![setting.name.to_owned(), setting.value.clone().unwrap_or_else(|| "-".to_owned())];
            if view.origin {
                cells.push(match place(setting) {
                    Some((word, Some(place))) => format!("{word} {place}"),
                    Some((word, None)) => word.to_owned(),
                    None => "-".to_owned(),
                });
            }
            cells
        };
        let document = |setting: &Setting| {
            let (word, place) = place(setting).map_or((None, None), |(word, place)| (Some(word), place));
            json!({"name": setting.name, "value": setting.value, "origin": word, "place": place})
        };
        let mut columns = vec!["SETTING", "VALUE"];
        columns.extend(view.origin.then_some("ORIGIN"));
        let table = Table {
            columns,
            rows: settings.iter().map(cells).collect(),
            findings: findings(&effective),
            ..Table::default()
        };
        let document =
            Document::new("config").with("settings", settings.iter().map(document).collect::<Vec<Value>>());
        Ok(Report::new(document, Body::Table(table)))
    }
}

fn settings(line: &Line, effective: &Effective) -> Vec<Setting> {
    let context = effective.context.as_ref();
    let pem = |name, id, found: &Option<Found<Pem>>| Setting {
        name,
        id,
        value: found.as_ref().map(|found| found.value.path.display().to_string()),
        origin: found.as_ref().map(|found| found.origin.clone()),
    };
    let said = |id, value, own| {
        let origin = if own { Origin::Line } else { Origin::Default };
        Setting { name: id, id, value: Some(value), origin: Some(origin) }
    };
    let display = line.display.output;
    let output = display
        .map_or_else(|| "table on a terminal, else plain".to_owned(), |format| format.word().to_owned());
    let timeout = line
        .connection
        .timeout
        .map_or_else(|| format!("{} for most commands", text::span(connect::TIMEOUT)), text::span);
    let reach = line.connection.connect_timeout;
    vec![
        Setting {
            name: "context",
            id: "context",
            value: context.map(|context| context.name.clone()),
            origin: context.map(|context| context.origin.clone()),
        },
        Setting {
            name: "protected",
            id: "protected",
            value: Some(if effective.protected { "yes" } else { "no" }.to_owned()),
            origin: Some(match context {
                Some(context) if effective.protected => Origin::Context(context.path.clone()),
                _ => Origin::Default,
            }),
        },
        Setting {
            name: "endpoints",
            id: "endpoints",
            value: Some(effective.endpoints.value.join(",")),
            origin: Some(effective.endpoints.origin.clone()),
        },
        pem("ca", "ca", &effective.ca),
        pem("cert", "cert", &effective.cert),
        pem("key", "client_key", &effective.key),
        said("timeout", timeout, line.connection.timeout.is_some()),
        Setting {
            name: "connect-timeout",
            ..said("connect_timeout", text::span(reach), line.sources.is_flag("connect_timeout"))
        },
        said("output", output, display.is_some()),
    ]
}

fn findings(effective: &Effective) -> Vec<String> {
    if !effective.needs_credentials() {
        return Vec::new();
    }
    let parts = [("ca", &effective.ca), ("cert", &effective.cert), ("key", &effective.key)];
    let missing: Vec<&str> = parts.iter().filter(|(_, pem)| pem.is_none()).map(|(name, _)| *name).collect();
    if missing.is_empty() {
        return Vec::new();
    }
    vec![format!("no command can reach a cluster so: nothing has {}", missing.join(", "))]
}
