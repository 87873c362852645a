//! One connection and the framed streams in it. A frame is a big-endian `u32` length and that many bytes.
#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing,
        clippy::arithmetic_side_effects
    )
)]

use std::{net::SocketAddr, sync::Arc};

use bytes::{BufMut as _, Bytes, BytesMut};
use quinn::VarInt;

use crate::{Subject, TransportError};

/// Frames up to this size are copied together before they are handed to QUIC; larger ones go as they are.
const COALESCED: usize = 2 * 1024;
const LENGTH_BYTES: usize = 4;

/// Why a connection is closed, as a number both ends know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CloseCode {
    /// Nothing is wrong.
    Done = 0,
    /// The certificate's role does not allow this protocol.
    Role = 1,
    /// Bytes that are not what they should be.
    Malformed = 2,
    /// Another cluster, or not the server that was meant.
    Misdirected = 3,
    /// A bound was exceeded.
    Limit = 4,
}

impl From<CloseCode> for VarInt {
    fn from(code: CloseCode) -> Self {
        Self::from_u32(code as u32)
    }
}

/// A proven connection. Cheap to clone; it lives until one end closes it or all clones and streams are gone.
#[derive(Clone, Debug)]
pub struct Connection {
    quic: quinn::Connection,
    subject: Arc<Subject>,
}

impl Connection {
    pub(crate) fn new(quic: quinn::Connection, subject: Subject) -> Self {
        Self { quic, subject: Arc::new(subject) }
    }

    /// Whose certificate the far end has.
    pub fn subject(&self) -> &Subject {
        &self.subject
    }

    /// Opens a stream that only we write. The far end learns of it with the first frame.
    pub async fn open_uni(&self) -> Result<FrameWriter, TransportError> {
        Ok(FrameWriter { stream: self.quic.open_uni().await? })
    }

    /// Opens a stream that both write.
    pub async fn open_bi(&self) -> Result<(FrameWriter, FrameReader), TransportError> {
        let (send, recv) = self.quic.open_bi().await?;
        Ok((FrameWriter { stream: send }, FrameReader::new(recv)))
    }

    /// Takes the next stream that only the far end writes.
    pub async fn accept_uni(&self) -> Result<FrameReader, TransportError> {
        Ok(FrameReader::new(self.quic.accept_uni().await?))
    }

    /// Takes the next stream that both write.
    pub async fn accept_bi(&self) -> Result<(FrameWriter, FrameReader), TransportError> {
        let (send, recv) = self.quic.accept_bi().await?;
        Ok((FrameWriter { stream: send }, FrameReader::new(recv)))
    }

    /// Ends everything on the connection at once, at both ends. What was written but not yet sent is lost.
    pub fn close(&self, code: CloseCode, reason: &str) {
        self.quic.close(code.into(), reason.as_bytes());
    }

    /// Waits until the connection is gone and says why.
    pub async fn closed(&self) -> TransportError {
        self.quic.closed().await.into()
    }

    /// Why the connection is gone, if it is.
    pub fn close_reason(&self) -> Option<TransportError> {
        self.quic.close_reason().map(Into::into)
    }

    /// Where the far end is; an IPv4 address is shown as one even when the socket is an IPv6 one.
    pub fn remote_address(&self) -> SocketAddr {
        canonical(self.quic.remote_address())
    }
}

pub(crate) fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// The writing end of a stream.
#[derive(Debug)]
pub struct FrameWriter {
    stream: quinn::SendStream,
}

impl FrameWriter {
    /// Writes frames, together in as few packets as they fit. Waits while the far end has no room. Not cancel-safe:
    /// when the future is dropped half-way, the stream can no longer be used.
    pub async fn write(&mut self, frames: &[Bytes]) -> Result<(), TransportError> {
        let mut chunks = chunks(frames)?;
        Ok(self.stream.write_all_chunks(&mut chunks).await?)
    }

    /// Says that nothing follows. The frames written so far still arrive.
    pub fn finish(&mut self) {
        // It can only fail when the stream is closed already, which is what is wanted.
        let _ = self.stream.finish();
    }

    /// Waits until the far end wants no more of it, or the connection is gone.
    pub async fn stopped(&self) {
        // Either way nothing that is written arrives any more.
        let _ = self.stream.stopped().await;
    }

    /// Gives the stream up: what was not sent is dropped, and the far end learns the code.
    pub fn reset(&mut self, code: CloseCode) {
        // It can only fail when the stream is closed already, which is what is wanted.
        let _ = self.stream.reset(code.into());
    }

    /// Sets which of our streams goes first when the network is the bottleneck; higher goes first, 0 is normal.
    pub fn set_priority(&self, priority: i32) {
        let _ = self.stream.set_priority(priority);
    }
}

/// Lengths and frames as pieces: small frames copied together, large ones by reference.
fn chunks(frames: &[Bytes]) -> Result<Vec<Bytes>, TransportError> {
    let small = |frame: &Bytes| if frame.len() <= COALESCED { frame.len() } else { 0 };
    let room = frames.len().saturating_mul(LENGTH_BYTES).saturating_add(frames.iter().map(small).sum());
    let mut head = BytesMut::with_capacity(room);
    let mut chunks = Vec::new();
    for frame in frames {
        let limit = u32::MAX as usize;
        let length =
            u32::try_from(frame.len()).map_err(|_| TransportError::TooLarge { size: frame.len(), limit })?;
        head.put_u32(length);
        if frame.len() <= COALESCED {
            head.extend_from_slice(frame);
        } else {
            chunks.push(head.split().freeze());
            chunks.push(frame.clone());
        }
    }
    if !head.is_empty() {
        chunks.push(head.freeze());
    }
    Ok(chunks)
}

/// The reading end of a stream.
#[derive(Debug)]
pub struct FrameReader {
    stream: quinn::RecvStream,
    buffer: BytesMut,
}

impl FrameReader {
    fn new(stream: quinn::RecvStream) -> Self {
        Self { stream, buffer: BytesMut::new() }
    }

    /// The next frame, or `None` at the end of the stream. Cancel-safe: what has arrived stays for the next call.
    ///
    /// A frame over `limit` is refused by its length alone. Memory grows with what arrived, never with what was
    /// announced, up to the limit and one stream window.
    pub async fn next(&mut self, limit: usize) -> Result<Option<Bytes>, TransportError> {
        loop {
            if let Some(frame) = take_frame(&mut self.buffer, limit)? {
                return Ok(Some(frame));
            }
            match self.stream.read_chunk(usize::MAX, true).await? {
                Some(chunk) => self.buffer.extend_from_slice(&chunk.bytes),
                None if self.buffer.is_empty() => return Ok(None),
                None => return Err(TransportError::Cut("it ended in the middle of a frame".into())),
            }
        }
    }
}

fn take_frame(buffer: &mut BytesMut, limit: usize) -> Result<Option<Bytes>, TransportError> {
    let Some(length) = buffer.first_chunk::<LENGTH_BYTES>() else { return Ok(None) };
    let size = usize::try_from(u32::from_be_bytes(*length)).unwrap_or(usize::MAX);
    if size > limit {
        return Err(TransportError::TooLarge { size, limit });
    }
    let end = size.saturating_add(LENGTH_BYTES);
    if buffer.len() < end {
        return Ok(None);
    }
    let mut frame = buffer.split_to(end).freeze();
    Ok(Some(frame.split_off(LENGTH_BYTES)))
}

#[cfg(test)]
impl FrameWriter {
    pub(crate) async fn write_raw(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
    }
}

#[cfg(test)]
impl FrameReader {
    pub(crate) fn buffered_bytes(&self) -> usize {
        self.buffer.len()
    }
}
