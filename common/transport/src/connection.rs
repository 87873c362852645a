//! One connection and the framed streams in it. A frame is a big-endian `u32` length and that many bytes. A stream is one of
//! QUIC, or all of a connection to a socket of this machine ([`local`](crate::local)).
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

use std::{io, net::SocketAddr, sync::Arc};

use bytes::{BufMut as _, Bytes, BytesMut};
use quinn::VarInt;
use tokio::net::UnixStream;

use crate::{Subject, TransportError};

/// Frames up to this size are copied together before they are handed to QUIC; larger ones go as they are.
const COALESCED: usize = 2 * 1024;
const LENGTH_BYTES: usize = 4;
/// Most bytes that are read from a socket of this machine at once.
const READ_BYTES: usize = 64 * 1024;

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
        Ok(FrameWriter::quic(self.quic.open_uni().await?))
    }

    /// Opens a stream that both write.
    pub async fn open_bi(&self) -> Result<(FrameWriter, FrameReader), TransportError> {
        let (send, recv) = self.quic.open_bi().await?;
        Ok((FrameWriter::quic(send), FrameReader::quic(recv)))
    }

    /// Takes the next stream that only the far end writes.
    pub async fn accept_uni(&self) -> Result<FrameReader, TransportError> {
        Ok(FrameReader::quic(self.quic.accept_uni().await?))
    }

    /// Takes the next stream that both write.
    pub async fn accept_bi(&self) -> Result<(FrameWriter, FrameReader), TransportError> {
        let (send, recv) = self.quic.accept_bi().await?;
        Ok((FrameWriter::quic(send), FrameReader::quic(recv)))
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
    stream: Outgoing,
}

#[derive(Debug)]
enum Outgoing {
    Quic(quinn::SendStream),
    Local(Arc<UnixStream>),
}

impl FrameWriter {
    fn quic(stream: quinn::SendStream) -> Self {
        Self { stream: Outgoing::Quic(stream) }
    }

    pub(crate) fn local(stream: Arc<UnixStream>) -> Self {
        Self { stream: Outgoing::Local(stream) }
    }

    /// Writes frames, together in as few packets as they fit. Waits while the far end has no room. Not cancel-safe:
    /// when the future is dropped half-way, the stream can no longer be used.
    pub async fn write(&mut self, frames: &[Bytes]) -> Result<(), TransportError> {
        let mut chunks = chunks(frames)?;
        match &mut self.stream {
            Outgoing::Quic(stream) => Ok(stream.write_all_chunks(&mut chunks).await?),
            Outgoing::Local(stream) => {
                for chunk in &chunks {
                    write_all(stream, chunk).await.map_err(gone)?;
                }
                Ok(())
            }
        }
    }

    /// Says that nothing follows. The frames written so far still arrive. A local stream says it by its end.
    pub fn finish(&mut self) {
        if let Outgoing::Quic(stream) = &mut self.stream {
            // It can only fail when the stream is closed already, which is what is wanted.
            let _ = stream.finish();
        }
    }

    /// Waits until the far end wants no more of it, or the connection is gone. Of a local stream, whose far end must have
    /// nothing more to say, until that is gone.
    pub async fn stopped(&self) {
        match &self.stream {
            Outgoing::Quic(stream) => {
                // Either way nothing that is written arrives any more.
                let _ = stream.stopped().await;
            }
            // It is gone, or says more than was agreed; that it was readable before means neither.
            Outgoing::Local(stream) => while is_silent(stream).await {},
        }
    }

    /// Gives the stream up: what was not sent is dropped, and the far end learns the code. A local one ends in the middle
    /// of a frame when both of its halves are dropped.
    pub fn reset(&mut self, code: CloseCode) {
        if let Outgoing::Quic(stream) = &mut self.stream {
            // It can only fail when the stream is closed already, which is what is wanted.
            let _ = stream.reset(code.into());
        }
    }

    /// Sets which of our streams goes first when the network is the bottleneck; higher goes first, 0 is normal.
    pub fn set_priority(&self, priority: i32) {
        if let Outgoing::Quic(stream) = &self.stream {
            let _ = stream.set_priority(priority);
        }
    }
}

/// Waits until the far end may have said something or gone; true where it has done neither.
async fn is_silent(stream: &UnixStream) -> bool {
    let ready = stream.readable().await;
    let read = ready.and_then(|()| stream.try_read(&mut [0]));
    read.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
}

async fn write_all(stream: &UnixStream, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        stream.writable().await?;
        match stream.try_write(bytes) {
            Ok(written) => bytes = bytes.get(written..).unwrap_or_default(),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// What a socket of this machine says when its far end is no longer there.
#[allow(clippy::needless_pass_by_value, reason = "it is given to `map_err`")]
fn gone(error: io::Error) -> TransportError {
    TransportError::Lost(error.to_string())
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
    stream: Incoming,
    buffer: BytesMut,
}

#[derive(Debug)]
enum Incoming {
    Quic(quinn::RecvStream),
    Local(Arc<UnixStream>),
}

impl FrameReader {
    fn quic(stream: quinn::RecvStream) -> Self {
        Self { stream: Incoming::Quic(stream), buffer: BytesMut::new() }
    }

    pub(crate) fn local(stream: Arc<UnixStream>) -> Self {
        Self { stream: Incoming::Local(stream), buffer: BytesMut::new() }
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
            if self.more().await? {
                continue;
            }
            if self.buffer.is_empty() {
                return Ok(None);
            }
            return Err(TransportError::Cut("it ended in the middle of a frame".into()));
        }
    }

    /// Whether its end is that of the whole connection, so that whoever was asked has nobody left to answer.
    pub fn is_local(&self) -> bool {
        matches!(self.stream, Incoming::Local(_))
    }

    /// Takes what has arrived; false at the end.
    async fn more(&mut self) -> Result<bool, TransportError> {
        match &mut self.stream {
            Incoming::Quic(stream) => {
                let chunk = stream.read_chunk(usize::MAX, true).await?;
                if let Some(chunk) = &chunk {
                    self.buffer.extend_from_slice(&chunk.bytes);
                }
                Ok(chunk.is_some())
            }
            Incoming::Local(stream) => loop {
                stream.readable().await.map_err(gone)?;
                self.buffer.reserve(READ_BYTES);
                match stream.try_read_buf(&mut (&mut self.buffer).limit(READ_BYTES)) {
                    Ok(read) => return Ok(read > 0),
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    Err(error) => return Err(gone(error)),
                }
            },
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
        match &mut self.stream {
            Outgoing::Quic(stream) => stream.write_all(bytes).await.unwrap(),
            Outgoing::Local(stream) => write_all(stream, bytes).await.unwrap(),
        }
    }
}

#[cfg(test)]
impl FrameReader {
    pub(crate) fn buffered_bytes(&self) -> usize {
        self.buffer.len()
    }
}
