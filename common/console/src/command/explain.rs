//! `explain` and `schema`: what the tools print, explained by the tools. Neither asks anybody.

use clap::Args;
use serde_json::{Value, json};

use crate::{
    codes::{
        CODES, Code,
        findings::{FINDINGS, Finding},
    },
    error::Failure,
    exit::Exit,
    report::{Body, Document, Report, Table},
    schema::SCHEMAS,
};

/// Arguments of `explain`.
#[derive(Args, Debug, PartialEq)]
#[command(after_help = "Examples:\n  kvctl explain KV-0401\n  kvctl explain no_leader\n  kvctl explain")]
pub struct Explain {
    /// A code or its name, also of a finding; all of them where none is given
    pub code: Option<String>,
}

impl Explain {
    pub(super) fn report(&self) -> Result<Report, Failure> {
        let Some(asked) = &self.code else { return Ok(list()) };
        let plain = asked.to_ascii_uppercase();
        let found: Vec<&Code> = CODES
            .iter()
            .filter(|code| plain.trim_start_matches("KV-") == number(code) || *asked == code.name)
            .collect();
        let is_meant = |finding: &&&Finding| {
            plain.trim_start_matches("KV-") == finding.code.trim_start_matches("KV-")
                || *asked == finding.name
        };
        let findings: Vec<&Finding> = FINDINGS.iter().filter(is_meant).copied().collect();
        if found.is_empty() && findings.is_empty() {
            let failure =
                Failure::new(Exit::Usage, "KV-0207", "unknown_code", format!("there is no code `{asked}`"));
            return Err(failure.hint("`kvctl explain` lists them all"));
        }
        let of_findings = findings.iter().map(|finding| told_finding(finding));
        let text: Vec<String> = found.iter().map(|code| told(code)).chain(of_findings).collect();
        Ok(Report::new(document(&found, &findings), Body::Text(text.join("\n"))))
    }
}

fn number(code: &Code) -> &str {
    code.code.trim_start_matches("KV-")
}

fn applied(code: &Code) -> &'static str {
    if code.may_be_applied { "unknown" } else { "no" }
}

fn told(code: &Code) -> String {
    let retry = if code.exit.is_retryable() { "retry may help" } else { "retry does not help" };
    let applied = if code.may_be_applied { "may have been applied" } else { "not applied" };
    format!(
        "{} {}   exit {}, {retry}, {applied}\n  {}\n  Next: {}\n",
        code.code,
        code.name,
        code.exit.code(),
        code.meaning,
        code.next
    )
}

fn told_finding(finding: &Finding) -> String {
    let Finding { code, name, meaning, next } = finding;
    format!("{code} {name}   a finding of `doctor`\n  {meaning}\n  Next: {next}\n")
}

fn list() -> Report {
    let cells = |code: &Code| {
        let retry = if code.exit.is_retryable() { "yes" } else { "no" };
        let (exit, applied) = (code.exit.code().to_string(), applied(code).to_owned());
        vec![code.code.to_owned(), code.name.to_owned(), exit, retry.to_owned(), applied]
    };
    let finding =
        |finding: &&Finding| [finding.code, finding.name, "-", "-", "-"].map(str::to_owned).to_vec();
    let table = Table {
        columns: vec!["CODE", "NAME", "EXIT", "RETRY", "APPLIED"],
        rows: CODES.iter().map(cells).chain(FINDINGS.iter().map(finding)).collect(),
        ..Table::default()
    };
    Report::new(document(&CODES.iter().collect::<Vec<_>>(), FINDINGS), Body::Table(table))
}

fn document(codes: &[&Code], findings: &[&Finding]) -> Document {
    let code = |code: &&Code| {
        json!({
            "code": code.code,
            "name": code.name,
            "exit": code.exit.code(),
            "applied": applied(code),
            "retryable": code.exit.is_retryable(),
            "meaning": code.meaning,
            "next": code.next,
        })
    };
    let finding = |finding: &&Finding| json!({"code": finding.code, "name": finding.name, "meaning": finding.meaning, "next": finding.next});
    Document::new("explain")
        .with("codes", codes.iter().map(code).collect::<Vec<Value>>())
        .with("findings", findings.iter().map(finding).collect::<Vec<Value>>())
}

/// Arguments of `schema`.
#[derive(Args, Debug, PartialEq)]
#[command(after_help = "Examples:\n  kvctl schema get\n  kvctl schema kvctl.status/v1\n  kvctl schema")]
pub struct Schema {
    /// Name of a document, such as get or kvctl.get/v1; all names where none is given
    pub name: Option<String>,
}

impl Schema {
    pub(super) fn report(&self) -> Result<Report, Failure> {
        let Some(name) = &self.name else {
            let names: Vec<&str> = SCHEMAS.iter().map(|(name, _)| *name).collect();
            let table = Table {
                columns: vec!["NAME", "SCHEMA"],
                rows: names.iter().map(|name| vec![(*name).to_owned(), format!("kvctl.{name}/v1")]).collect(),
                ..Table::default()
            };
            return Ok(Report::new(Document::new("schemas").with("names", names), Body::Table(table)));
        };
        let short = name.trim_start_matches("kvctl.").trim_end_matches("/v1");
        let Some((_, schema)) = SCHEMAS.iter().find(|(known, _)| *known == short) else {
            let message = format!("there is no document `{name}`");
            let failure = Failure::new(Exit::Usage, "KV-0208", "unknown_schema", message);
            return Err(failure.hint("`kvctl schema` lists them all"));
        };
        Ok(Report::new(Document::new("schemas"), Body::Text((*schema).to_owned())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn explained(code: &str) -> Result<Report, Failure> {
        Explain { code: Some(code.to_owned()) }.report()
    }

    #[test]
    fn a_code_is_known_in_every_spelling() {
        let want = explained("KV-0501").unwrap();
        for spelling in ["kv-0501", "0501", "deadline"] {
            assert_eq!(explained(spelling).unwrap(), want, "{spelling}");
        }
        let Body::Text(text) = want.body else { panic!() };
        assert!(
            text.starts_with("KV-0501 deadline   exit 5, retry may help, not applied\n  The time was up "),
            "{text}"
        );
        let Body::Text(both) = explained("unknown").unwrap().body else { panic!() };
        assert!(both.contains("KV-0601") && both.contains("KV-0602"), "{both}");
        assert_eq!(explained("KV-9999").unwrap_err().code, "KV-0207");
        assert_eq!(explained("").unwrap_err().code, "KV-0207");
    }

    #[test]
    fn a_schema_is_known_by_either_name() {
        let schema = |name: &str| Schema { name: Some(name.to_owned()) }.report();
        assert_eq!(schema("get").unwrap(), schema("kvctl.get/v1").unwrap());
        assert_eq!(schema("none").unwrap_err().code, "KV-0208");
        let Body::Text(text) = schema("error").unwrap().body else { panic!() };
        let json: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(json["properties"]["schema"]["const"], "kvctl.error/v1");
    }
}
