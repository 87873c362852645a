//! What clients and servers say to each other, and the command in a log entry.

use std::fmt::Debug;

use protocol::{
    Command, DecodeError, Request, RequestFrame, RequestId, ResponseFrame, ScanFrame, WatchFrame, Welcome,
    snapshot::SaveFrame,
};

pub(crate) fn run(bytes: &[u8]) {
    if let Ok(frame) = RequestFrame::decode(bytes) {
        if let Request::Write { request, operation } = &frame.request {
            assert_eq!(request.to_string().parse::<RequestId>(), Ok(*request));
            // A refusal is for the server to phrase; that it can be told is all that is asked.
            drop(operation.check().map_err(|error| error.to_string()));
        }
        if let Request::Scan(scan) = &frame.request {
            drop(scan.check().map_err(|error| error.to_string()));
            let after = scan.clone().after(&scan.from);
            assert!(
                after.from > scan.from && !after.covers(&scan.from),
                "what comes after a key leaves it out"
            );
        }
        if let Request::Watch(watch) = &frame.request {
            drop(watch.check().map_err(|error| error.to_string()));
        }
        survives(&frame, RequestFrame::encode, RequestFrame::decode);
    }
    if let Ok(frame) = ScanFrame::decode(bytes) {
        survives(&frame, |frame| frame.clone().encode(), ScanFrame::decode);
    }
    if let Ok(frame) = SaveFrame::decode(bytes) {
        survives(&frame, |frame| frame.clone().encode(), SaveFrame::decode);
    }
    if let Ok(frame) = WatchFrame::decode(bytes) {
        survives(&frame, |frame| frame.clone().encode(), WatchFrame::decode);
    }
    if let Ok(frame) = ResponseFrame::decode(bytes) {
        if let Err(refused) = &frame.result {
            assert_ne!(refused.to_string(), "");
        }
        survives(&frame, ResponseFrame::encode, ResponseFrame::decode);
    }
    if let Ok(welcome) = Welcome::decode(bytes) {
        survives(&welcome, Welcome::encode, Welcome::decode);
    }
    if let Ok(command) = Command::decode(bytes) {
        survives(&command, Command::encode, Command::decode);
    }
}

/// What was decoded is the same after another round through bytes. (The bytes themselves need not be: fields that
/// this version does not know are skipped.)
pub(crate) fn survives<T: Debug + PartialEq>(
    value: &T,
    encode: impl Fn(&T) -> Vec<u8>,
    decode: impl Fn(&[u8]) -> Result<T, DecodeError>,
) {
    let bytes = encode(value);
    let again = decode(&bytes).expect("what was encoded here can be decoded here");
    assert_eq!(*value, again);
    assert_eq!(bytes, encode(&again));
}
