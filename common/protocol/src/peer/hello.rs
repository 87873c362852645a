//! What a server says first on each stream to another: where it is reached, for one that does not know it yet. A server
//! that has just been added is sent the log by a leader that may have been added itself since the configuration was written.
//!
//! ```text
//!  0    1    2            18     26
//! ┌────┬────┬────────────┬──────┬───────────┐
//! │ 64 │ 0  │ cluster id │ from │ address … │
//! │ u8 │ u8 │ 16 bytes   │ u64  │ UTF-8     │
//! └────┴────┴────────────┴──────┴───────────┘
//! ```

use raft::NodeId;

use crate::{ClusterId, DecodeError, command::within, limits, read::Reader};

/// Its kind, which no message has.
const HELLO: u8 = 64;

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerHello {
    /// The sender's cluster.
    pub cluster: ClusterId,
    /// The sender.
    pub from: NodeId,
    /// Its advertised address.
    pub address: String,
}

impl PeerHello {
    /// Whether a frame is one of these.
    pub fn is(bytes: &[u8]) -> bool {
        bytes.first() == Some(&HELLO)
    }

    /// The bytes of the frame, without the length.
    pub fn encode(&self) -> Vec<u8> {
        let from = self.from.0.to_le_bytes();
        [&[HELLO, 0][..], &self.cluster.0, &from, self.address.as_bytes()].concat()
    }

    /// Reads a frame.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes, "a server's greeting");
        let [kind, _reserved] = reader.array()?;
        if kind != HELLO {
            return Err(DecodeError::Malformed("not a server's greeting"));
        }
        let cluster = ClusterId(reader.array()?);
        let from = super::node(&mut reader)?;
        let address = reader.rest();
        within("address of a server", address.len(), limits::ADDRESS_BYTES)?;
        let address =
            std::str::from_utf8(address).map_err(|_| DecodeError::Malformed("a server's address"))?;
        Ok(Self { cluster, from, address: address.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hello(address: usize) -> PeerHello {
        PeerHello { cluster: ClusterId([7; 16]), from: NodeId(3), address: "h".repeat(address) }
    }

    #[test]
    fn its_bytes_are_a_promise() {
        let bytes = [&[64, 0][..], &[7; 16], &[3, 0, 0, 0, 0, 0, 0, 0], b"hh"].concat();
        assert_eq!(hello(2).encode(), bytes);
        assert_eq!(PeerHello::decode(&bytes), Ok(hello(2)));
        assert!(PeerHello::is(&bytes) && !PeerHello::is(&[5, 0]) && !PeerHello::is(&[]));
        for end in 0..26 {
            assert!(PeerHello::decode(&bytes[..end]).is_err(), "{end} bytes");
        }
        assert!(PeerHello::decode(&[&bytes[..26], &[0xff]].concat()).is_err());
    }

    #[test]
    fn its_address_is_bounded() {
        let decoded = |address| PeerHello::decode(&hello(address).encode());
        assert!(decoded(limits::ADDRESS_BYTES).is_ok());
        assert!(decoded(limits::ADDRESS_BYTES + 1).is_err());
    }
}
