//! The JSON of the seed project: `{"object":{"total":2,"Servers":[{"mypid":1,"url":"127.0.0.1:7401"}, …]}}`.
//! It says nothing about times, names, directories and certificates, so all of these have their defaults.

use serde::Deserialize;

use super::{Draft, DraftServer, Words, error::Complaint};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    object: Object,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Object {
    total: u64,
    #[serde(rename = "Servers")]
    servers: Vec<Server>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Server {
    mypid: u64,
    url: String,
}

pub(super) fn parse(text: &str) -> Result<Draft, Complaint> {
    let file: File = serde_json::from_str(text).map_err(|error| {
        let remedy = r#"write {"object":{"total":1,"Servers":[{"mypid":1,"url":"127.0.0.1:7401"}]}}"#;
        Complaint::unparsable(text, error.line(), &error.to_string(), remedy)
    })?;
    let listed = file.object.servers.len();
    if file.object.total != listed as u64 {
        let why = format!("{listed} servers are listed");
        let remedy = format!("set it to {listed}, or list the servers that are missing");
        return Err(Complaint::new("object.total", file.object.total, why, remedy));
    }
    let servers = file
        .object
        .servers
        .into_iter()
        .map(|server| DraftServer { id: server.mypid, address: server.url, ..DraftServer::default() })
        .collect();
    let words = Words { server: "object.Servers", id: "mypid", address: "url" };
    Ok(Draft { servers, words, ..Draft::default() })
}
