//! `txn`: compares keys and does one of two lists of reads and writes, all of it at one revision. What is compared and
//! done is said by arguments, or by a JSON file (`transact/file.rs`).

use std::path::PathBuf;

use clap::Args;
use client::Judged;
use protocol::{
    DecodeError, RequestId, Transaction, Verdict,
    operation::Action,
    response::{Done, Found},
};
use serde_json::{Map, Value, json};

use super::write::{identified, load};
use crate::{
    connect::Session,
    error::Failure,
    exit::Exit,
    report::{Body, Document, Report, Table},
    text,
};

mod file;
mod parse;

/// Arguments of `txn`.
#[derive(Args, Debug, PartialEq)]
#[command(after_help = "Examples:\n  \
                        kvctl txn --if 'rev(app/mode)=45' --then 'set app/mode green' --then 'del app/lock'\n  \
                        kvctl txn --if 'absent(app/owner)' --then 'set app/owner me' --else 'get app/owner'\n  \
                        kvctl txn --file move.json\n\n\
                        Compares: value(KEY), rev(KEY), version(KEY), each with = != < > and an operand;\n\
                        exists(KEY) and absent(KEY). All must hold; an absent key is at revision and version 0.\n\
                        Steps: `set KEY VALUE`, `del KEY`, `get KEY`, `prefix PREFIX [N]`, `range FROM TO [N]`.")]
pub struct Txn {
    /// What must be so; all of them
    #[arg(long = "if", value_name = "COMPARE", value_parser = parse::compare, conflicts_with = "file")]
    pub compares: Vec<protocol::operation::Compare>,
    /// What to do then, in this order
    #[arg(long, value_name = "STEP", value_parser = parse::step, conflicts_with = "file")]
    pub then: Vec<Action>,
    /// What to do else, in this order
    #[arg(long = "else", value_name = "STEP", value_parser = parse::step, conflicts_with = "file")]
    pub otherwise: Vec<Action>,
    /// Take all of that from a JSON file, or with `-` from stdin
    #[arg(long, value_name = "FILE|-")]
    pub file: Option<PathBuf>,
    /// Repeat the transaction whose outcome was unknown
    #[arg(long, value_name = "ID")]
    pub request_id: Option<RequestId>,
    /// What is asked, once arguments and file are read.
    #[arg(skip)]
    transaction: Transaction,
}

/// Longest JSON of a transaction: its bytes in base64 and then some.
const FILE_BYTES: usize = 2 * 1024 * 1024;

impl Txn {
    pub(super) fn prepare(&mut self) -> Result<(), Failure> {
        self.transaction = match &self.file {
            Some(path) => file::read(&load("transaction", path, FILE_BYTES)?)?,
            None => Transaction {
                compares: self.compares.clone(),
                then: self.then.clone(),
                otherwise: self.otherwise.clone(),
            },
        };
        self.transaction.check().map_err(|error| match error {
            DecodeError::TooLarge { what, size, limit } => {
                Failure::too_large(what, &size.to_string(), limit as u64)
            }
            DecodeError::Malformed(what) => {
                Failure::usage(format!("this is {what}")).hint("`kvctl txn --help` shows what there is")
            }
            other => Failure::usage(other.to_string()),
        })
    }

    /// Whether any of its steps writes.
    pub(super) fn changes(&self) -> bool {
        let Transaction { then, otherwise, .. } = &self.transaction;
        then.iter().chain(otherwise).any(|step| step.written().is_some())
    }

    pub(super) async fn run(&self, session: &Session) -> Result<Report, Failure> {
        let judged = session.client().transact(self.transaction.clone(), self.request_id).await?;
        self.report(&judged)
    }

    fn report(&self, judged: &Judged) -> Result<Report, Failure> {
        let decided = &judged.decided;
        if decided.verdict == Verdict::TooLarge {
            let message = "the transaction reads more than an answer holds; nothing was changed";
            let failure = Failure::new(Exit::Refused, "KV-0809", "too_much", message);
            return Err(
                failure.hint("read fewer keys in it, or read them before and compare their revisions")
            );
        }
        let is_met = judged.is_done();
        let (branch, list) =
            if is_met { ("then", &self.transaction.then) } else { ("else", &self.transaction.otherwise) };
        let results: Vec<Value> =
            list.iter().zip(&decided.results).map(|(step, done)| result(step, done)).collect();
        let document = Document::new("txn").with("branch", branch).with("rev", decided.revision);
        let document = identified(document, true, &judged.request, decided.deduplicated)
            .with("results", (!decided.deduplicated).then_some(results));
        let mut head = vec![branch.to_owned(), format!("rev {}", decided.revision)];
        let mut findings = Vec::new();
        if decided.deduplicated {
            head.push("had been applied before".to_owned());
            if list.iter().any(|step| step.written().is_none()) {
                findings.push("what its reads found is not kept: read the keys again".to_owned());
            }
        }
        let rows = list.iter().zip(&decided.results).flat_map(|(step, done)| rows(step, done)).collect();
        let columns = vec!["STEP", "KEY", "REV", "VERSION", "VALUE"];
        let body = Body::Table(Table { head, columns, rows, findings });
        Ok(Report::new(document, body).exit(if is_met { Exit::Success } else { Exit::No }))
    }
}

/// What a step came to, for programs.
fn result(step: &Action, done: &Done) -> Value {
    let mut object = Map::new();
    match (step, done) {
        (Action::Set { key, .. }, Done::Written { existed }) => {
            object.insert("op".into(), "set".into());
            bytes(&mut object, "key", key);
            object.insert("existed".into(), (*existed).into());
        }
        (Action::Delete { key }, Done::Written { existed }) => {
            object.insert("op".into(), "del".into());
            bytes(&mut object, "key", key);
            object.insert("existed".into(), (*existed).into());
        }
        (Action::Get { key }, Done::Read(found)) => {
            object.insert("op".into(), "get".into());
            bytes(&mut object, "key", key);
            object.insert("found".into(), found.is_some().into());
            if let Some(found) = found {
                row(&mut object, found);
            }
        }
        (_, Done::Rows { rows, more }) => {
            let shown = |(key, found): &(Vec<u8>, Found)| {
                let mut object = Map::new();
                bytes(&mut object, "key", key);
                row(&mut object, found);
                Value::Object(object)
            };
            object.insert("op".into(), "range".into());
            object.insert("rows".into(), rows.iter().map(shown).collect());
            object.insert("more".into(), (*more).into());
        }
        (_, other) => _ = object.insert("op".into(), json!(format!("{other:?}"))),
    }
    Value::Object(object)
}

fn row(object: &mut Map<String, Value>, found: &Found) {
    bytes(object, "value", &found.value);
    object.insert("mod_rev".into(), found.revision.into());
    object.insert("create_rev".into(), found.created.into());
    object.insert("version".into(), found.version.into());
}

/// Under `name` where they are text, else in base64 under `name_b64`.
fn bytes(object: &mut Map<String, Value>, name: &str, bytes: &[u8]) {
    match std::str::from_utf8(bytes) {
        Ok(text) => object.insert(name.to_owned(), text.into()),
        Err(_) => object.insert(format!("{name}_b64"), text::base64(bytes).into()),
    };
}

/// What a step came to, for people: a line each, and one for each row that was read.
fn rows(step: &Action, done: &Done) -> Vec<Vec<String>> {
    let dash = || "-".to_owned();
    let line = |word: &str, key: &[u8], found: Option<&Found>| {
        let number = |number: Option<u64>| number.map_or_else(dash, |number| number.to_string());
        vec![
            word.to_owned(),
            text::key(key),
            number(found.map(|found| found.revision)),
            number(found.map(|found| found.version)),
            found.map_or_else(dash, |found| text::key(&found.value)),
        ]
    };
    match (step, done) {
        (Action::Set { key, .. }, _) => vec![line("set", key, None)],
        (Action::Delete { key }, _) => vec![line("del", key, None)],
        (Action::Get { key }, Done::Read(found)) => vec![line("get", key, found.as_ref())],
        (_, Done::Rows { rows, .. }) => {
            rows.iter().map(|(key, found)| line("range", key, Some(found))).collect()
        }
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests;
