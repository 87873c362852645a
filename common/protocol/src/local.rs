//! How a stream begins on the socket of a node's own machine, where no handshake has said who is meant.
//!
//! The client knocks: it wants this node, or another member through it. Who may knock here is the superuser or runs the
//! node, and so could use the node's own certificate; a node therefore carries streams to other members, and whoever
//! administers it needs no certificate at all. The answer is the welcome of the node that was wanted, or why there is none;
//! after it, the stream is one of client frames.

use prost::Message as _;

use crate::{DecodeError, Welcome, limits, response::wire::WelcomeWire};

/// The first frame of the client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Knock {
    /// The node that listens there.
    Here,
    /// The member that advertises this address.
    There(String),
}

/// The first frame of the node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Opened {
    /// What the node says of itself.
    Welcome(Welcome),
    /// No stream comes of it.
    Failed {
        /// What kind of failure it is.
        kind: Fault,
        /// The same in words.
        why: String,
    },
}

/// Why a node could not be had, told apart as the client itself would tell it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Anything else.
    Other = 0,
    /// Nothing listens there.
    Refused = 1,
    /// It does not answer.
    Silent = 2,
    /// A certificate is not accepted.
    Tls = 3,
    /// It speaks another version.
    Version = 4,
    /// Its name has no address.
    Unresolved = 5,
    /// The user may not use this socket.
    Forbidden = 6,
}

impl Fault {
    const ALL: [Self; 7] = [
        Self::Other,
        Self::Refused,
        Self::Silent,
        Self::Tls,
        Self::Version,
        Self::Unresolved,
        Self::Forbidden,
    ];

    /// One of a kind that this version does not know is another one.
    fn of(number: u32) -> Self {
        Self::ALL.into_iter().find(|fault| *fault as u32 == number).unwrap_or(Self::Other)
    }
}

impl Knock {
    /// The bytes of the frame, without the length.
    pub fn encode(self) -> Vec<u8> {
        let address = match self {
            Self::Here => None,
            Self::There(address) => Some(address),
        };
        KnockWire { address }.encode_to_vec()
    }

    /// Reads a frame.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let KnockWire { address } = KnockWire::decode(bytes).map_err(|_| DecodeError::Malformed("knock"))?;
        match address {
            None => Ok(Self::Here),
            Some(address) if address.len() > limits::ADDRESS_BYTES => {
                let (size, limit) = (address.len(), limits::ADDRESS_BYTES);
                Err(DecodeError::TooLarge { what: "address of a node", size, limit })
            }
            Some(address) => Ok(Self::There(address)),
        }
    }
}

impl Opened {
    /// The bytes of the frame, without the length.
    pub fn encode(self) -> Vec<u8> {
        let kind = match self {
            Self::Welcome(welcome) => Kind::Welcome(welcome.into()),
            Self::Failed { kind, why } => Kind::Failed(FailedWire { kind: kind as u32, why }),
        };
        OpenedWire { kind: Some(kind) }.encode_to_vec()
    }

    /// Reads a frame. One of a kind that this version does not know is malformed to it.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let wire = OpenedWire::decode(bytes).map_err(|_| DecodeError::Malformed("answer to a knock"))?;
        Ok(match wire.kind.ok_or(DecodeError::Malformed("unknown answer to a knock"))? {
            Kind::Welcome(welcome) => Self::Welcome(welcome.try_into()?),
            Kind::Failed(FailedWire { kind, why }) => Self::Failed { kind: Fault::of(kind), why },
        })
    }
}

#[derive(Clone, PartialEq, prost::Message)]
struct KnockWire {
    #[prost(string, optional, tag = "1")]
    address: Option<String>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct OpenedWire {
    #[prost(oneof = "Kind", tags = "1, 2")]
    kind: Option<Kind>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
enum Kind {
    #[prost(message, tag = "1")]
    Welcome(WelcomeWire),
    #[prost(message, tag = "2")]
    Failed(FailedWire),
}

#[derive(Clone, PartialEq, prost::Message)]
struct FailedWire {
    #[prost(uint32, tag = "1")]
    kind: u32,
    #[prost(string, tag = "2")]
    why: String,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{ClusterId, testing::hex};

    #[test]
    fn the_bytes_of_a_knock_are_a_promise() {
        let there = Knock::There("n2:1".into());
        for (knock, bytes) in [(Knock::Here, ""), (there, "0a046e323a31")] {
            let encoded = knock.clone().encode();
            assert_eq!(hex(&encoded), bytes);
            assert_eq!(Knock::decode(&encoded), Ok(knock));
        }
    }

    #[test]
    fn the_bytes_of_an_answer_are_a_promise() {
        let welcome = Welcome {
            cluster: ClusterId([1; 16]),
            node: 2,
            applied: 3,
            leader: None,
            leader_address: None,
            members: Vec::new(),
        };
        let failed = Opened::Failed { kind: Fault::Silent, why: "w".into() };
        let welcomed = "0a160a100101010101010101010101010101010110021803";
        for (opened, bytes) in [(Opened::Welcome(welcome), welcomed), (failed, "120508021201 77")] {
            let encoded = opened.clone().encode();
            assert_eq!(hex(&encoded), bytes.replace(' ', ""));
            assert_eq!(Opened::decode(&encoded), Ok(opened));
        }
        assert_eq!(Opened::decode(&[]), Err(DecodeError::Malformed("unknown answer to a knock")));
        for fault in Fault::ALL {
            assert_eq!(Fault::of(fault as u32), fault);
        }
        assert_eq!(Fault::of(99), Fault::Other);
    }

    #[test]
    fn an_address_is_bounded() {
        let of = |bytes: usize| Knock::decode(&Knock::There("h".repeat(bytes)).encode());
        assert!(of(limits::ADDRESS_BYTES).is_ok());
        assert!(matches!(of(limits::ADDRESS_BYTES + 1), Err(DecodeError::TooLarge { .. })));
    }

    proptest! {
        #[test]
        fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..128)) {
            let _ = Knock::decode(&bytes);
            let _ = Opened::decode(&bytes);
        }
    }
}
