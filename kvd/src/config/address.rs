//! `host:port`, where the host is a name, an IPv4 address or an IPv6 address in brackets.

use std::{
    fmt,
    net::{IpAddr, Ipv6Addr},
};

use super::error::Complaint;

/// A checked address in its one canonical spelling, so that equal addresses compare equal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Address {
    host: Host,
    port: u16,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Host {
    Ip(IpAddr),
    Name(String),
}

/// What is wrong with an address, and what to do.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Fault {
    why: String,
    remedy: &'static str,
}

impl Fault {
    pub(super) fn at(self, key: &str, value: &str) -> Complaint {
        Complaint::new(key, value, self.why, self.remedy)
    }
}

fn fault(why: impl Into<String>, remedy: &'static str) -> Fault {
    Fault { why: why.into(), remedy }
}

impl Address {
    pub(super) fn parse(text: &str) -> Result<Self, Fault> {
        let form = "write host:port, as in 10.0.0.1:7400, db1.example.org:7400 or [2001:db8::1]:7400";
        let (host, port) = text.rsplit_once(':').ok_or_else(|| fault("it has no port", form))?;
        if host.contains(':') && !host.starts_with('[') {
            return Err(fault("an IPv6 address stands in brackets", form));
        }
        let host = Host::parse(host).ok_or_else(|| fault("not a host name or address", form))?;
        Ok(Self { host, port: parse_port(port, form)? })
    }

    pub(super) fn is_loopback(&self) -> bool {
        match &self.host {
            Host::Ip(ip) => ip.is_loopback(),
            Host::Name(name) => name == "localhost",
        }
    }

    pub(super) fn is_unspecified(&self) -> bool {
        matches!(&self.host, Host::Ip(ip) if ip.is_unspecified())
    }
}

fn parse_port(text: &str, form: &'static str) -> Result<u16, Fault> {
    let remedy = "choose a port from 1 to 65535";
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(fault(format!("`{text}` is not a port"), form));
    }
    match text.parse::<u16>() {
        Ok(0) => Err(fault("port 0 cannot be reached", remedy)),
        Ok(port) => Ok(port),
        Err(_) => Err(fault(format!("port {text} is above 65535"), remedy)),
    }
}

impl Host {
    fn parse(text: &str) -> Option<Self> {
        if let Some(inner) = text.strip_prefix('[') {
            let ip: Ipv6Addr = inner.strip_suffix(']')?.parse().ok()?;
            return Some(Self::Ip(ip.into()));
        }
        if let Ok(ip) = text.parse::<IpAddr>() {
            return Some(Self::Ip(ip));
        }
        // A name made of digits and dots alone is a mistyped address.
        let label = |label: &str| {
            !label.is_empty()
                && label.len() <= 63
                && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
        };
        let numeric = text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
        let name = text.strip_suffix('.').unwrap_or(text);
        (!numeric && name.len() <= 253 && name.split('.').all(label))
            .then(|| Self::Name(name.to_ascii_lowercase()))
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            Host::Ip(IpAddr::V6(ip)) => write!(f, "[{ip}]:{}", self.port),
            Host::Ip(ip) => write!(f, "{ip}:{}", self.port),
            Host::Name(name) => write!(f, "{name}:{}", self.port),
        }
    }
}
