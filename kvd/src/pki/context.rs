//! A `.kvctx` file: all that `kvctl` and `kvshell` need to reach a cluster, in one TOML file.

use serde::{Deserialize, Serialize};

/// The content of a `.kvctx` file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Context {
    /// `host:port` of the servers.
    pub endpoints: Vec<String>,
    /// Whether whoever changes something must name it. It is the user's to say, and stays when it is written anew.
    #[serde(default)]
    pub protected: bool,
    /// The CA's certificate, PEM.
    pub ca: String,
    /// The user's certificate, PEM.
    pub cert: String,
    /// The user's private key, PEM.
    pub key: String,
}

impl Context {
    /// The file's text. PEM has neither quotes nor backslashes, so its lines stand as they are.
    pub fn encode(&self) -> String {
        let endpoints: Vec<_> =
            self.endpoints.iter().map(|endpoint| toml::Value::from(endpoint.as_str()).to_string()).collect();
        let block = |name: &str, pem: &str| format!("{name} = \"\"\"\n{}\n\"\"\"\n", pem.trim());
        let protected = if self.protected { "protected = true\n" } else { "" };
        format!(
            "# Access to a kv cluster. Whoever can read this file can read and write the store.\n\
             endpoints = [{}]\n{protected}{}{}{}",
            endpoints.join(", "),
            block("ca", &self.ca),
            block("cert", &self.cert),
            block("key", &self.key),
        )
    }

    /// Reads a file's text; the error says what is wrong.
    pub fn decode(text: &str) -> Result<Self, String> {
        toml::from_str(text).map_err(|error| error.message().to_owned())
    }
}
