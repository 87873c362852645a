//! Ids: of a cluster, and of a request that must take effect at most once.

use std::{fmt, str::FromStr};

use crate::DecodeError;

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
    pub fn fresh(learned: u64, cluster: ClusterId) -> Self {
        let mut token = [0; 16];
        getrandom::fill(&mut token).expect("the operating system gives random bytes");
        Self { token, learned, cluster }
    }

    /// The binary form: token, learned (big-endian), cluster.
    pub fn to_bytes(self) -> [u8; Self::BYTES] {
        let mut out = [0; Self::BYTES];
        out[..16].copy_from_slice(&self.token);
        out[16..24].copy_from_slice(&self.learned.to_be_bytes());
        out[24..].copy_from_slice(&self.cluster.0);
        out
    }

    /// Reads the binary form.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, DecodeError> {
        let bytes: &[u8; Self::BYTES] = bytes.try_into().map_err(|_| DecodeError::Truncated("request id"))?;
        let (mut token, mut learned, mut cluster) = ([0; 16], [0; 8], [0; 16]);
        token.copy_from_slice(&bytes[..16]);
        learned.copy_from_slice(&bytes[16..24]);
        cluster.copy_from_slice(&bytes[24..]);
        Ok(Self { token, learned: u64::from_be_bytes(learned), cluster: ClusterId(cluster) })
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
        self.to_string()[..8].to_owned()
    }
}

fn from_hex(text: &str, out: &mut [u8]) -> Option<()> {
    let digits = text.as_bytes();
    if digits.len() != out.len() * 2 {
        return None;
    }
    for (byte, pair) in out.iter_mut().zip(digits.chunks_exact(2)) {
        let high = char::from(pair[0]).to_digit(16)?;
        let low = char::from(pair[1]).to_digit(16)?;
        *byte = u8::try_from(high * 16 + low).ok()?;
    }
    Some(())
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
    }
}
