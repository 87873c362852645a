//! What a client that saves a backup is sent: blocks, each in a frame that can also be a refusal.

use prost::Message as _;

use crate::{DecodeError, Refused, response::wire::RefusedWire};

/// One frame of the stream of a save.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SaveFrame {
    /// A block; the last one is the end of the state.
    Block(Vec<u8>),
    /// It is not begun.
    Refused(Refused),
    /// It was begun and is not whole, for this reason.
    Cut(String),
}

impl SaveFrame {
    /// The bytes of the frame, without the length.
    pub fn encode(self) -> Vec<u8> {
        let kind = match self {
            Self::Block(block) => Kind::Block(block),
            Self::Refused(refused) => Kind::Refused(refused.into()),
            Self::Cut(why) => Kind::Cut(why),
        };
        FrameWire { kind: Some(kind) }.encode_to_vec()
    }

    /// Reads a frame. One of a kind that this version does not know is malformed to it.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let wire = FrameWire::decode(bytes).map_err(|_| DecodeError::Malformed("answer to a save"))?;
        Ok(match wire.kind.ok_or(DecodeError::Malformed("unknown answer to a save"))? {
            Kind::Block(block) => Self::Block(block),
            Kind::Refused(refused) => Self::Refused(refused.try_into()?),
            Kind::Cut(why) => Self::Cut(why),
        })
    }
}

#[derive(Clone, PartialEq, prost::Message)]
struct FrameWire {
    #[prost(oneof = "Kind", tags = "1, 3, 4")]
    kind: Option<Kind>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
enum Kind {
    #[prost(bytes = "vec", tag = "1")]
    Block(Vec<u8>),
    #[prost(message, tag = "3")]
    Refused(RefusedWire),
    #[prost(string, tag = "4")]
    Cut(String),
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::{SAVE_FRAME_BYTES, SNAPSHOT_BLOCK_BYTES};

    #[test]
    fn frames_survive_their_bytes_which_are_a_promise() {
        let hex = |frame: &SaveFrame| {
            let bytes = frame.clone().encode();
            assert_eq!(SaveFrame::decode(&bytes).as_ref(), Ok(frame));
            bytes.iter().fold(String::new(), |text, byte| format!("{text}{byte:02x}"))
        };
        assert_eq!(hex(&SaveFrame::Block(vec![1, 2])), "0a020102");
        assert_eq!(hex(&SaveFrame::Refused(Refused::NoQuorum)), "1a021a00");
        assert_eq!(hex(&SaveFrame::Cut("why".into())), "2203776879");
        assert!(SaveFrame::decode(&[]).is_err());
    }

    #[test]
    fn the_longest_block_fits_into_a_frame() {
        let frame = SaveFrame::Block(vec![7; SNAPSHOT_BLOCK_BYTES]).encode();
        assert!(frame.len() <= SAVE_FRAME_BYTES);
        assert!(SaveFrame::Block(vec![7; SAVE_FRAME_BYTES]).encode().len() > SAVE_FRAME_BYTES);
    }
}
