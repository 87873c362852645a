//! `history`: all that is kept of what a key held, newest first.

use std::{ffi::OsString, os::unix::ffi::OsStrExt as _, time::Duration};

use clap::Args;
use protocol::{Scan, history::Version};

use super::{
    data::{Freshness, absent_note, check_key},
    get::end_document,
};
use crate::{
    connect::Session,
    error::Failure,
    exit::Exit,
    listing::{Kind, Listing, Out},
    report::{Document, Report},
    text,
};

/// Arguments of `history`.
#[derive(Args, Debug, PartialEq)]
#[command(
    after_help = "Examples:\n  kvctl history app/mode\n  kvctl history app/mode --limit 5 -o ndjson\n\n\
                        How much of the past is kept is for all keys together: `kvctl retention`. A revision without an age\n\
                        is what the key held already when that began."
)]
pub struct History {
    /// Which key
    pub key: OsString,
    /// Most versions
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub limit: Option<u64>,
    /// How fresh.
    #[command(flatten)]
    pub fresh: Freshness,
}

const COLUMNS: &[&str] = &["REV", "TYPE", "VALUE", "VERSION", "AGE"];

impl History {
    pub(super) fn prepare(&self) -> Result<(), Failure> {
        check_key(&self.key)
    }

    pub(super) async fn run(&self, session: &Session, out: &mut Out<'_>) -> Result<Report, Failure> {
        let key = self.key.as_bytes();
        let scan = Scan { limit: self.limit, consistency: self.fresh.wanted(), ..Scan::versions(key) };
        let mut pages = session.client().scan(scan);
        let mut listing = Listing::new(out, Kind { whole: "history", row: "past", columns: COLUMNS });
        while let Some(page) = pages.next().await? {
            for version in &page.versions {
                listing.row(|| cells(version), || document(key, version));
            }
            listing.flush()?;
        }
        let end = pages.end().ok_or_else(|| Failure::internal("a scan has no end"))?;
        let report = listing.end(end_document(&end, pages.served_by(), self.fresh.consistency))?;
        Ok(match (end.count, end.more) {
            (0, _) => report.exit(Exit::No).note(absent_note(&self.key)),
            (count, true) => report.note(format!("there is more: {count} versions were wanted")),
            _ => report,
        })
    }
}

fn cells(version: &Version) -> Vec<String> {
    let found = version.found.as_ref();
    let or_none = |cell: Option<String>| cell.unwrap_or_else(|| "-".to_owned());
    let age = version.moment.map(|moment| text::age(Duration::from_millis(moment.age_ms)));
    vec![
        version.revision.to_string(),
        kind(version).to_owned(),
        or_none(found.map(|found| String::from_utf8_lossy(&found.value).into_owned())),
        or_none(found.map(|found| found.version.to_string())),
        or_none(age),
    ]
}

fn document(key: &[u8], version: &Version) -> Document {
    let document = Document::bare()
        .with_bytes("key", "key_b64", key)
        .with("mod_rev", version.revision)
        .with("event", kind(version));
    let document = match &version.found {
        Some(found) => document
            .with_bytes("value", "value_b64", &found.value)
            .with("create_rev", found.created)
            .with("version", found.version),
        None => document,
    };
    document
        .with("time", version.moment.map(|moment| text::timestamp(moment.wall_ms)))
        .with("age_ms", version.moment.map(|moment| moment.age_ms))
}

fn kind(version: &Version) -> &'static str {
    match version {
        Version { found: Some(_), .. } => "put",
        Version { expired: true, .. } => "expire",
        _ => "delete",
    }
}

#[cfg(test)]
mod tests {
    use protocol::{history::Moment, response::Found};

    use super::*;

    fn version(found: Option<&[u8]>, moment: Option<Moment>) -> Version {
        let found = found.map(|value| Found {
            value: value.to_vec(),
            revision: 45,
            created: 12,
            version: 3,
            lease: None,
        });
        Version { revision: 45, found, moment, expired: false }
    }

    #[test]
    fn a_version_for_people_and_for_programs() {
        let moment = Some(Moment { age_ms: 125_000, wall_ms: 1_700_000_000_123 });
        let put = version(Some(b"blue"), moment);
        assert_eq!(cells(&put), ["45", "put", "blue", "3", "2m"]);
        assert_eq!(
            document(b"k", &put).to_json(),
            r#"{"key":"k","mod_rev":45,"event":"put","value":"blue","create_rev":12,"version":3,"#.to_owned()
                + r#""time":"2023-11-14T22:13:20.123Z","age_ms":125000}"#
        );
        let gone = version(None, moment);
        assert_eq!(cells(&gone), ["45", "delete", "-", "-", "2m"]);
        let old = version(Some(b"\xff"), None);
        assert_eq!(cells(&old)[4], "-");
        assert!(document(b"k", &old).to_json().ends_with(r#""version":3,"time":null,"age_ms":null}"#));
    }
}
