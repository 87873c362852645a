//! From flags and files to a client. Nothing is sent here: a client connects when it is first asked.

use std::{path::Path, time::Duration};

use client::{Client, Settings};

use crate::{
    context::{Connection, Credentials, Places, Resolved, resolve},
    error::Failure,
};

/// The budget of a command that has none of its own.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(5);

/// A cluster that commands can be run against, one after the other.
#[derive(Clone)]
pub struct Session {
    resolved: Resolved,
    settings: Settings,
    client: Client,
}

impl Session {
    /// Finds the cluster that the flags mean.
    pub fn open(connection: &Connection, places: &Places) -> Result<Self, Failure> {
        let resolved = resolve(connection, places)?;
        let identity = resolved.identity()?;
        let settings = Settings {
            endpoints: resolved.endpoints.clone(),
            identity,
            timeout: connection.timeout.unwrap_or(TIMEOUT),
            connect_timeout: connection.connect_timeout,
            connections: 1,
        };
        let client = Client::new(settings.clone());
        Ok(Self { resolved, settings, client })
    }

    /// The name of the context, empty where there is none.
    pub fn name(&self) -> &str {
        &self.resolved.name
    }

    /// Whether changes need a confirmation.
    pub fn is_protected(&self) -> bool {
        self.resolved.protected
    }

    /// The file of the context, without links.
    pub fn path(&self) -> Option<&Path> {
        self.resolved.path.as_deref()
    }

    /// Whether these flags still mean what it was opened with: the same context, and in it the same.
    pub fn is_current(&self, connection: &Connection, places: &Places) -> bool {
        resolve(connection, places).is_ok_and(|now| now == self.resolved)
    }

    /// Whether both lead to the same, whatever way each was told to take to its file: a file may have been replaced
    /// between the two.
    pub fn is_same(&self, other: &Self) -> bool {
        let (own, other) = (&self.resolved, &other.resolved);
        let files = own.path == other.path && own.endpoints == other.endpoints;
        let texts = |resolved: &Resolved| {
            let credentials = resolved.credentials.clone();
            credentials.map(|Credentials { ca, cert, key }| [ca.text, cert.text, key.text])
        };
        files && texts(own) == texts(other)
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
