//! A transaction as a JSON file.
//!
//! ```json
//! {"if":   [{"key": "app/mode", "rev": 45}, {"key": "app/stock", "op": ">", "value": "0"}, {"key": "app/lock", "exists": false}],
//!  "then": [{"set": {"key": "app/mode", "value": "green"}}, {"del": {"key": "app/lock"}}],
//!  "else": [{"get": {"key": "app/mode"}}, {"prefix": {"prefix": "app/", "limit": 10}}, {"range": {"from": "a", "to": "b"}}]}
//! ```
//!
//! What is not text is given in base64 under `key_b64` and `value_b64`. A word that is not known is refused.

use protocol::{
    KeyRange, Transaction,
    operation::{Action, Compare, Operand, Relation},
};
use serde::Deserialize;

use super::parse;
use crate::{error::Failure, text};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default, rename = "if")]
    compares: Vec<CompareText>,
    #[serde(default)]
    then: Vec<StepText>,
    #[serde(default, rename = "else")]
    otherwise: Vec<StepText>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CompareText {
    key: Option<String>,
    key_b64: Option<String>,
    op: Option<String>,
    value: Option<String>,
    value_b64: Option<String>,
    rev: Option<u64>,
    version: Option<u64>,
    exists: Option<bool>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "lowercase")]
enum StepText {
    Set(Row),
    Del(Key),
    Get(Key),
    Range(Range),
    Prefix(Prefix),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    key: Option<String>,
    key_b64: Option<String>,
    value: Option<String>,
    value_b64: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Key {
    key: Option<String>,
    key_b64: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Range {
    #[serde(default)]
    from: String,
    #[serde(default)]
    to: String,
    limit: Option<u32>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Prefix {
    prefix: String,
    limit: Option<u32>,
}

/// Reads a file.
pub(super) fn read(bytes: &[u8]) -> Result<Transaction, Failure> {
    let malformed = |what: String| {
        Failure::usage(format!("this is no transaction: {what}")).hint("docs/cli.md shows one, under txn")
    };
    let file: File = serde_json::from_slice(bytes).map_err(|error| malformed(error.to_string()))?;
    let steps =
        |steps: Vec<StepText>| steps.into_iter().map(step).collect::<Result<_, _>>().map_err(malformed);
    Ok(Transaction {
        compares: file.compares.into_iter().map(compare).collect::<Result<_, _>>().map_err(malformed)?,
        then: steps(file.then)?,
        otherwise: steps(file.otherwise)?,
    })
}

fn compare(text: CompareText) -> Result<Compare, String> {
    let key = one("key", text.key, text.key_b64)?;
    let value = if text.value.is_some() || text.value_b64.is_some() {
        Some(Operand::Value(one("value", text.value, text.value_b64)?))
    } else {
        None
    };
    let operands = [value, text.rev.map(Operand::Revision), text.version.map(Operand::Version)];
    let mut operands = operands.into_iter().flatten();
    if let Some(exists) = text.exists {
        if operands.next().is_some() || text.op.is_some() {
            return Err("`exists` goes without `op` and any other operand".to_owned());
        }
        let relation = if exists { Relation::Equal } else { Relation::NotEqual };
        return Ok(Compare { key, relation, operand: Operand::Present });
    }
    let (Some(operand), None) = (operands.next(), operands.next()) else {
        return Err("a compare has one of value, value_b64, rev, version and exists".to_owned());
    };
    let sign = text.op.as_deref().unwrap_or("=");
    let relation = parse::relations().into_iter().find(|(known, _)| *known == sign);
    let (_, relation) = relation.ok_or_else(|| format!("`{sign}` is none of =, !=, < and >"))?;
    Ok(Compare { key, relation, operand })
}

fn step(text: StepText) -> Result<Action, String> {
    let limit = |limit: Option<u32>| limit.unwrap_or_else(parse::most_rows);
    Ok(match text {
        StepText::Set(row) => Action::Set {
            key: one("key", row.key, row.key_b64)?,
            value: one("value", row.value, row.value_b64)?,
        },
        StepText::Del(Key { key, key_b64 }) => Action::Delete { key: one("key", key, key_b64)? },
        StepText::Get(Key { key, key_b64 }) => Action::Get { key: one("key", key, key_b64)? },
        StepText::Range(Range { from, to, limit: most }) => {
            Action::Range { range: parse::range(from.as_bytes(), to.as_bytes()), limit: limit(most) }
        }
        StepText::Prefix(Prefix { prefix, limit: most }) => {
            Action::Range { range: KeyRange::prefix(prefix.as_bytes()), limit: limit(most) }
        }
    })
}

/// The one of text and base64 that is given.
fn one(name: &str, text: Option<String>, base64: Option<String>) -> Result<Vec<u8>, String> {
    match (text, base64) {
        (Some(text), None) => Ok(text.into_bytes()),
        (None, Some(base64)) => text::unbase64(&base64).ok_or_else(|| format!("`{name}_b64` is not base64")),
        _ => Err(format!("one of `{name}` and `{name}_b64` is needed")),
    }
}
