//! Where a node shows its metrics: the table `metrics`, and a server's own `metrics_listen`. Nothing is served unless one of
//! them says so. Plain HTTP without a password is for this machine; others want `allow_remote`, which is refused by name
//! where it is missing.

use super::{Complaint, address::Address};

/// What a notation says of it, unchecked.
#[derive(Clone, Debug, Default)]
pub(super) struct DraftMetrics {
    pub(super) listen: Option<String>,
    pub(super) allow_remote: bool,
}

impl DraftMetrics {
    /// Where the server `id` called `name` listens for it. `own` is the server's own key, with what it says.
    pub(super) fn check(
        &self,
        (id, name): (u64, &str),
        own: (&str, Option<&String>),
    ) -> Result<Option<String>, Complaint> {
        let (key, text) = match (own, &self.listen) {
            ((key, Some(text)), _) => (key, text),
            ((_, None), Some(text)) => ("metrics.listen", text),
            ((_, None), None) => return Ok(None),
        };
        let text = text.replace("{name}", name).replace("{id}", &id.to_string());
        let address = Address::parse(&text).map_err(|fault| fault.at(key, &text))?;
        if !self.allow_remote && !address.is_loopback() {
            let why = "other machines could read it, and it is neither encrypted nor asks who reads";
            let remedy = "listen on 127.0.0.1 or [::1], or set metrics.allow_remote = true";
            return Err(Complaint::new(key, text, why, remedy));
        }
        Ok(Some(address.to_string()))
    }
}
