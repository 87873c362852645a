//! What a server says first on each stream to another: which life of it this is, which life of the other it knows, and where
//! it is reached, for one that does not know it yet. A server that has just been added is sent the log by a leader that may
//! have been added itself since the configuration was written.
//!
//! ```text
//!  0    1    2            18     26         58                   90
//! ┌────┬────┬────────────┬──────┬──────────┬────────────────────┬───────────┐
//! │ 64 │ 1  │ cluster id │ from │ presence │ presence, of whom  │ address … │
//! │ u8 │ u8 │ 16 bytes   │ u64  │ 32 bytes │ it speaks to; or 0 │ UTF-8     │
//! └────┴────┴────────────┴──────┴──────────┴────────────────────┴───────────┘
//!
//! presence: │ incarnation, 16 bytes │ boot u64 │ process u64 │
//! ```
//!
//! The second byte is the format of the rest. Another one is refused: nobody is let in whose life is not known.

use raft::NodeId;

use crate::{ClusterId, DecodeError, command::within, limits, read::Reader};

/// Its kind, which no message has.
const HELLO: u8 = 64;
/// The format of what follows.
const FORMAT: u8 = 1;

/// Which life of a server speaks (`kvd/src/recognition.rs`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Presence {
    /// Drawn when its data directories were made: another directory is another incarnation.
    pub incarnation: [u8; 16],
    /// How often a process was started on them, from 1 on; 0 where that is not known.
    pub boot: u64,
    /// Drawn by that process.
    pub process: u64,
}

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerHello {
    /// The sender's cluster.
    pub cluster: ClusterId,
    /// The sender.
    pub from: NodeId,
    /// Which life of it.
    pub presence: Presence,
    /// Which life of whom it speaks to it knows.
    pub known: Option<Presence>,
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
        let (presence, known) = (bytes(self.presence), bytes(self.known.unwrap_or_default()));
        let parts =
            [&[HELLO, FORMAT][..], &self.cluster.0, &from, &presence, &known, self.address.as_bytes()];
        parts.concat()
    }

    /// Reads a frame.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes, "a server's greeting");
        let [kind, format] = reader.array()?;
        if kind != HELLO {
            return Err(DecodeError::Malformed("not a server's greeting"));
        }
        if format != FORMAT {
            return Err(DecodeError::Malformed("a server's greeting of a version that is not known here"));
        }
        let cluster = ClusterId(reader.array()?);
        let from = super::node(&mut reader)?;
        let presence = presence(&mut reader)?;
        if presence.boot == 0 {
            return Err(DecodeError::Malformed("a server that was never started"));
        }
        let known = Some(self::presence(&mut reader)?).filter(|known| *known != Presence::default());
        let address = reader.rest();
        within("address of a server", address.len(), limits::ADDRESS_BYTES)?;
        let address =
            std::str::from_utf8(address).map_err(|_| DecodeError::Malformed("a server's address"))?;
        Ok(Self { cluster, from, presence, known, address: address.to_owned() })
    }
}

fn bytes(presence: Presence) -> Vec<u8> {
    let Presence { incarnation, boot, process } = presence;
    [&incarnation[..], &boot.to_le_bytes(), &process.to_le_bytes()].concat()
}

fn presence(reader: &mut Reader<'_>) -> Result<Presence, DecodeError> {
    Ok(Presence { incarnation: reader.array()?, boot: reader.number()?, process: reader.u64()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hello(address: usize) -> PeerHello {
        let known = Presence { incarnation: [9; 16], boot: 0, process: 0 };
        PeerHello {
            cluster: ClusterId([7; 16]),
            from: NodeId(3),
            presence: Presence { incarnation: [8; 16], boot: 5, process: 6 },
            known: Some(known),
            address: "h".repeat(address),
        }
    }

    #[test]
    fn its_bytes_are_a_promise() {
        let number = |n: u8| [n, 0, 0, 0, 0, 0, 0, 0];
        let own = [&[8; 16][..], &number(5), &number(6)].concat();
        let known = [&[9; 16][..], &[0; 16]].concat();
        let bytes = [&[64, 1][..], &[7; 16], &number(3), &own, &known, b"hh"].concat();
        assert_eq!(hello(2).encode(), bytes);
        assert_eq!(PeerHello::decode(&bytes), Ok(hello(2)));
        assert!(PeerHello::is(&bytes) && !PeerHello::is(&[5, 0]) && !PeerHello::is(&[]));
        for end in 0..90 {
            assert!(PeerHello::decode(&bytes[..end]).is_err(), "{end} bytes");
        }
        assert!(PeerHello::decode(&[&bytes[..90], &[0xff]].concat()).is_err());
    }

    #[test]
    fn nothing_known_is_zeros_and_another_format_or_no_life_is_refused() {
        let stranger = PeerHello { known: None, ..hello(1) };
        assert_eq!(stranger.encode()[58..90], [0; 32]);
        assert_eq!(PeerHello::decode(&stranger.encode()), Ok(stranger));
        let unborn = PeerHello { presence: Presence { boot: 0, ..hello(1).presence }, ..hello(1) };
        assert!(PeerHello::decode(&unborn.encode()).is_err());
        for format in [0, 2] {
            let mut bytes = hello(1).encode();
            bytes[1] = format;
            assert!(PeerHello::decode(&bytes).is_err());
        }
    }

    proptest::proptest! {
        #[test]
        fn what_is_read_is_written_the_same(bytes in proptest::collection::vec(proptest::num::u8::ANY, 88..120)) {
            let bytes = [&[64, 1][..], &bytes].concat();
            if let Ok(hello) = PeerHello::decode(&bytes) {
                assert_eq!(hello.encode(), bytes);
            }
            let _ = PeerHello::decode(&bytes[..bytes.len() / 2]);
        }
    }

    #[test]
    fn its_address_is_bounded() {
        let decoded = |address| PeerHello::decode(&hello(address).encode());
        assert!(decoded(limits::ADDRESS_BYTES).is_ok());
        assert!(decoded(limits::ADDRESS_BYTES + 1).is_err());
    }
}
