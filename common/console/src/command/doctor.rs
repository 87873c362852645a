//! `doctor`: everything that can be wrong between here and the cluster, looked for at once and named apart. Each node is asked
//! for its own view; what one node cannot know of itself (clocks, agreement, quorum) is judged over all of them.
//!
//! What keeps other commands from even trying, a context that is not there or a key that others may read, is a finding here.

use clap::Args;
use client::NodeView;
use serde_json::{Value, json};

use super::ping;
use crate::{
    codes::findings::Finding,
    connect::Session,
    error::Failure,
    exit::Exit,
    report::{Body, Document, Report, Table},
};

mod judge;

/// Arguments of `doctor`.
#[derive(Args, Debug, PartialEq)]
#[command(after_help = "Examples:\n  kvctl doctor\n  kvctl doctor n3\n  kvctl doctor -o json\n\n\
                        Ends with 0 when nothing is found and 1 when something is. `kvctl explain CODE` says what a\n\
                        finding means and what to do.")]
pub struct Doctor {
    /// Only this node, by its name, id or HOST:PORT, and what it has to do with the others
    #[arg(value_name = "NODE")]
    pub node: Option<String>,
}

/// How one thing was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// As it should be.
    Ok,
    /// It works, and will not for ever.
    Warning,
    /// It does not work.
    Failed,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq)]
struct Looked {
    /// A node, `here` or `cluster`.
    at: String,
    state: State,
    found: String,
    /// Code and name, where something was found.
    code: Option<(&'static str, &'static str)>,
    fix: Option<String>,
}

impl State {
    fn mark(self) -> &'static str {
        match self {
            Self::Ok => "✓",
            Self::Warning => "!",
            Self::Failed => "✗",
        }
    }

    fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Failed => "failed",
        }
    }
}

impl Looked {
    fn ok(at: &str, found: impl Into<String>) -> Self {
        Self { at: at.to_owned(), state: State::Ok, found: found.into(), code: None, fix: None }
    }

    fn finding(at: &str, state: State, finding: &'static Finding, found: impl Into<String>) -> Self {
        let (code, fix) = (Some((finding.code, finding.name)), Some(finding.next.to_owned()));
        Self { at: at.to_owned(), state, found: found.into(), code, fix }
    }
}

impl Doctor {
    pub(super) async fn run(&self, session: &Session) -> Result<Report, Failure> {
        let all = session.client().status().await;
        let chosen = match &self.node {
            None => all.clone(),
            Some(node) => self.choose(node, &all, session).await?,
        };
        let mut looked = judge::here(&judge::Here::of(session));
        looked.extend(judge::clock_here(&all));
        looked.extend(judge::nodes(&chosen, &all));
        looked.extend(judge::cluster(all));
        Ok(report(&looked))
    }

    /// The one that is meant; where nobody answers and so nobody can be told by a name, all.
    async fn choose(
        &self,
        node: &str,
        all: &[NodeView],
        session: &Session,
    ) -> Result<Vec<NodeView>, Failure> {
        let named = [node.to_owned()];
        match ping::choose(&named, session).await {
            Err(failure) if failure.exit != Exit::Usage => Ok(all.to_vec()),
            chosen => chosen,
        }
    }

    /// What keeps any command from asking is what this one looks for.
    pub(super) fn conclude(result: Result<Report, Failure>) -> Result<Report, Failure> {
        let failure = match result {
            Err(failure) if is_of_setup(&failure) => failure,
            result => return result,
        };
        let looked = Looked {
            at: "here".to_owned(),
            state: State::Failed,
            found: failure.message,
            code: Some((failure.code, failure.name)),
            fix: failure.hint,
        };
        Ok(report(&[looked]))
    }
}

/// Files and settings, as opposed to a line that makes no sense and to a stream that broke.
fn is_of_setup(failure: &Failure) -> bool {
    let setup = matches!(failure.exit, Exit::Usage | Exit::Denied | Exit::File);
    setup && !["usage", "unknown_node", "stream"].contains(&failure.name)
}

fn report(looked: &[Looked]) -> Report {
    let healthy = looked.iter().all(|looked| looked.state == State::Ok);
    let cells = |looked: &Looked| {
        let code = looked.code.map_or("-", |(code, _)| code);
        [looked.state.mark(), &looked.at, &looked.found, code].map(ToOwned::to_owned).to_vec()
    };
    let fix = |looked: &Looked| looked.fix.as_ref().map(|fix| format!("{}: {fix}", looked.at));
    let mut fixes: Vec<String> = Vec::new();
    for fix in looked.iter().filter_map(fix) {
        if !fixes.contains(&fix) {
            fixes.push(fix);
        }
    }
    let table = Table {
        columns: vec!["OK", "WHAT", "FOUND", "CODE"],
        rows: looked.iter().map(cells).collect(),
        findings: fixes,
        ..Table::default()
    };
    let document = Document::new("doctor")
        .with("healthy", healthy)
        .with("looked_at", looked.iter().map(document).collect::<Vec<Value>>());
    Report::new(document, Body::Table(table)).exit(if healthy { Exit::Success } else { Exit::No })
}

fn document(looked: &Looked) -> Value {
    json!({
        "what": looked.at,
        "state": looked.state.word(),
        "found": looked.found,
        "code": looked.code.map(|(code, _)| code),
        "name": looked.code.map(|(_, name)| name),
        "fix": looked.fix,
    })
}

#[cfg(test)]
mod tests;
