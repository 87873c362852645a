//! From flags and files to a client. Nothing is sent here: a client connects when it is first asked.

use std::time::Duration;

use client::{Client, Settings};
use transport::Identity;

use crate::{
    context::{Connection, Places, Resolved, resolve},
    error::Failure,
    exit::Exit,
};

/// The budget of a command that has none of its own.
const TIMEOUT: Duration = Duration::from_secs(5);

/// A cluster that commands can be run against, one after the other.
pub struct Session {
    name: String,
    settings: Settings,
    client: Client,
}

impl Session {
    /// Finds the cluster that the flags mean.
    pub fn open(connection: &Connection, places: &Places) -> Result<Self, Failure> {
        let resolved = resolve(connection, places)?;
        let identity = identity(&resolved)?;
        let settings = Settings {
            endpoints: resolved.endpoints,
            identity,
            timeout: connection.timeout.unwrap_or(TIMEOUT),
            connect_timeout: connection.connect_timeout,
            connections: 1,
        };
        Ok(Self { name: resolved.name, client: Client::new(settings.clone()), settings })
    }

    /// The name of the context, empty where there is none.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The client of the session.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// What the client was made from, for those who need more of them.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Says goodbye to the nodes.
    pub async fn close(self) {
        self.client.close().await;
    }
}

fn identity(resolved: &Resolved) -> Result<Identity, Failure> {
    Identity::from_pem(&resolved.ca, &resolved.cert, &resolved.key).map_err(|error| {
        Failure::new(
            Exit::Denied,
            "KV-0703",
            "bad_identity",
            format!("the certificates cannot be used: {error}"),
        )
        .hint("ca, cert and key are PEM, and the key belongs to the certificate; see docs/cli.md")
    })
}
