//! Ids: of a cluster, and of a request that must take effect at most once.

use std::{fmt, str::FromStr};

use crate::{DecodeError, read::Reader};

/// Names a cluster: derived from its CA and first voters, so that all nodes agree on it without talking.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, PartialOrd, Ord)]
pub struct ClusterId(pub [u8; 16]);

/// One write, however often it is sent. The cluster remembers the ids of its last million applied writes and
/// answers a repeated one with the first outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RequestId {
    /// 128 random bits.
    pub token: [u8; 16],
    /// An applied index that the client had learned before its first attempt. An id whose `learned` is older than
    /// what the cluster remembers is expired and never executed.
    pub learned: u64,
    /// The cluster that `learned` was learned from.
    pub cluster: ClusterId,
}

impl RequestId {
    /// Length of the binary form.
    pub const BYTES: usize = 40;

    /// A fresh id.
    ///
    /// # Panics
    /// When the operating system has no randomness to give.
    #[allow(clippy::expect_used)]
    pub fn fresh(learned: u64, cluster: ClusterId) -> Self {
        let mut token = [0; 16];
        getrandom::fill(&mut token).expect("the operating system gives random bytes");
        Self { token, learned, cluster }
    }

    /// The binary form: token, learned (big-endian), cluster.
    pub fn to_bytes(self) -> [u8; Self::BYTES] {
        let mut out = [0; Self::BYTES];
        let (token, rest) = out.split_at_mut(16);
        let (learned, cluster) = rest.split_at_mut(8);
        token.copy_from_slice(&self.token);
        learned.copy_from_slice(&self.learned.to_be_bytes());
        cluster.copy_from_slice(&self.cluster.0);
        out
    }

    /// Reads the binary form.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes, "request id");
        let id = Self {
            token: reader.array()?,
            learned: reader.array().map(u64::from_be_bytes)?,
            cluster: ClusterId(reader.array()?),
        };
        if reader.rest().is_empty() {
            Ok(id)
        } else {
            Err(DecodeError::Malformed("bytes after a request id"))
        }
    }
}

/// Eighty hexadecimal digits, as `kvctl --request-id` takes them.
impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.to_bytes().iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl FromStr for RequestId {
    type Err = DecodeError;

    fn from_str(text: &str) -> Result<Self, DecodeError> {
        let mut bytes = [0; Self::BYTES];
        from_hex(text, &mut bytes).ok_or(DecodeError::Malformed("a request id is 80 hexadecimal digits"))?;
        Self::from_bytes(&bytes)
    }
}

/// Thirty-two hexadecimal digits; people are shown the first eight ([`ClusterId::short`]).
impl fmt::Display for ClusterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for ClusterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.short())
    }
}

impl FromStr for ClusterId {
    type Err = DecodeError;

    fn from_str(text: &str) -> Result<Self, DecodeError> {
        let mut bytes = [0; 16];
        from_hex(text, &mut bytes).ok_or(DecodeError::Malformed("a cluster id is 32 hexadecimal digits"))?;
        Ok(Self(bytes))
    }
}

impl ClusterId {
    /// The first eight digits, enough for people.
    pub fn short(&self) -> String {
        self.to_string().chars().take(8).collect()
    }
}

fn from_hex(text: &str, out: &mut [u8]) -> Option<()> {
    let mut digits = text.chars().map(|digit| digit.to_digit(16).and_then(|digit| u8::try_from(digit).ok()));
    for byte in out {
        let (high, low) = (digits.next()??, digits.next()??);
        *byte = (high << 4) | low;
    }
    digits.next().is_none().then_some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn request_id_survives_text_and_bytes() {
        let id = RequestId::fresh(77, ClusterId([9; 16]));
        assert_eq!(id.to_string().parse::<RequestId>(), Ok(id));
        assert_eq!(RequestId::from_bytes(&id.to_bytes()), Ok(id));
        assert!("zz".parse::<RequestId>().is_err());
        assert!(RequestId::from_bytes(&[0; 39]).is_err());
        assert!(RequestId::from_bytes(&[0; 41]).is_err());
    }

    #[test]
    fn hexadecimal_is_exact() {
        let text = "00ff10a0b1c2d3e4f5061728394a5b6c";
        let id: ClusterId = text.parse().unwrap();
        assert_eq!((id.to_string().as_str(), id.short().as_str()), (text, "00ff10a0"));
        assert_eq!(text.to_uppercase().parse(), Ok(id));
        for wrong in [&text[..31], &format!("{text}0"), "", &text.replace('a', "g"), &text.replace('a', "ä")]
        {
            assert!(wrong.parse::<ClusterId>().is_err(), "{wrong}");
        }
    }
}
