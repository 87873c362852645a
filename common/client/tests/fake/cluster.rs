//! Servers that do what a test tells them, over the real transport.
#![allow(clippy::unwrap_used, reason = "what cannot be set up fails the test")]
#![allow(clippy::unnecessary_wraps, reason = "answers have the type they are given to `always` with")]
#![allow(unreachable_pub, reason = "it is a module of a test")]

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use client::Settings;
use protocol::{
    ClusterId, Refused, Request, RequestFrame, RequestId, Response, ResponseFrame, Scan, ScanFrame, Watch,
    WatchFrame, Welcome, limits, response::Member, snapshot::SaveFrame,
};
use transport::{Authority, Connection, Endpoint, FrameReader, FrameWriter, Identity};

/// The cluster of all fakes.
pub const CLUSTER: ClusterId = ClusterId([4; 16]);
/// What a welcome gives for request ids.
pub const APPLIED: u64 = 40;
/// The budget of a call in tests that are to succeed.
pub const TIMEOUT: Duration = Duration::from_secs(10);

/// What a fake does with a request.
pub enum Reaction {
    /// Answers it.
    Answer(Result<Response, Refused>),
    /// Never answers it.
    Ignore,
    /// Closes the connection without an answer.
    Drop,
    /// Answers a scan with these and ends its stream.
    Frames(Vec<ScanFrame>),
    /// Answer to a save: these, and the end of the stream.
    Blocks(Vec<SaveFrame>),
    /// The same of a watch.
    Told(Vec<WatchFrame>),
}

/// Identities of one CA.
pub struct Pki(Authority);

impl Pki {
    pub fn new() -> Self {
        Self(Authority::create("test", 30).unwrap())
    }

    pub fn client(&self) -> Identity {
        let issued = self.0.issue_client("tester", 30).unwrap();
        Identity::from_pem(self.0.cert_pem(), &issued.cert_pem, &issued.key_pem).unwrap()
    }

    fn node(&self, id: u64) -> Identity {
        let issued = self.0.issue_node(id, &["127.0.0.1".to_owned()], 30).unwrap();
        Identity::from_pem(self.0.cert_pem(), &issued.cert_pem, &issued.key_pem).unwrap()
    }
}

/// A running fake.
pub struct Fake {
    pub address: String,
    seen: Arc<Mutex<Vec<RequestFrame>>>,
    react: Arc<Mutex<Box<React>>>,
    connections: Arc<AtomicUsize>,
    endpoint: Arc<Endpoint>,
}

type React = dyn FnMut(&RequestFrame) -> Reaction + Send;

impl Fake {
    /// Listens as node `id`; `members` are the other nodes' addresses for its welcome.
    pub fn start(pki: &Pki, id: u64, members: &[(u64, &str)]) -> Self {
        let listen: SocketAddr = ([127, 0, 0, 1], 0).into();
        let endpoint = Endpoint::server(listen, &pki.node(id), &transport::Settings::default());
        let endpoint = Arc::new(endpoint.unwrap());
        let member = |(id, address): &(u64, &str)| Member {
            id: *id,
            name: format!("n{id}"),
            address: (*address).to_owned(),
            ..Member::default()
        };
        let welcome = Welcome {
            cluster: CLUSTER,
            node: id,
            applied: APPLIED,
            leader: None,
            leader_address: None,
            members: members.iter().map(member).collect(),
        };
        let react: Arc<Mutex<Box<React>>> = Arc::new(Mutex::new(Box::new(|_| Reaction::Ignore)));
        let (seen, connections) = (Arc::default(), Arc::default());
        let address = endpoint.local_addr().to_string();
        tokio::spawn(serve(
            Arc::clone(&endpoint),
            Arc::clone(&connections),
            welcome,
            Arc::clone(&seen),
            Arc::clone(&react),
        ));
        Self { address, seen, react, connections, endpoint }
    }

    /// From now on reacts so.
    pub fn on(&self, react: impl FnMut(&RequestFrame) -> Reaction + Send + 'static) -> &Self {
        *self.react.lock().unwrap() = Box::new(react);
        self
    }

    /// Answers every request with this.
    pub fn always(&self, answer: Result<Response, Refused>) -> &Self {
        self.on(move |_| Reaction::Answer(answer.clone()))
    }

    /// The ids of the writes it received.
    pub fn writes(&self) -> Vec<RequestId> {
        let seen = self.seen.lock().unwrap();
        let id = |frame: &RequestFrame| match frame.request {
            Request::Write { request, .. } => Some(request),
            _ => None,
        };
        seen.iter().filter_map(id).collect()
    }

    /// The scans that it was asked for.
    pub fn scans(&self) -> Vec<Scan> {
        let seen = self.seen.lock().unwrap();
        let scan = |frame: &RequestFrame| match &frame.request {
            Request::Scan(scan) => Some(scan.clone()),
            _ => None,
        };
        seen.iter().filter_map(scan).collect()
    }

    /// The watches that it was asked for.
    pub fn watches(&self) -> Vec<Watch> {
        let seen = self.seen.lock().unwrap();
        let watch = |frame: &RequestFrame| match &frame.request {
            Request::Watch(watch) => Some(watch.clone()),
            _ => None,
        };
        seen.iter().filter_map(watch).collect()
    }

    /// How many connections it accepted.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }

    /// All requests it received.
    pub fn requests(&self) -> usize {
        self.seen.lock().unwrap().len()
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.endpoint.close();
    }
}

async fn serve(
    endpoint: Arc<Endpoint>,
    connections: Arc<AtomicUsize>,
    welcome: Welcome,
    seen: Arc<Mutex<Vec<RequestFrame>>>,
    react: Arc<Mutex<Box<React>>>,
) {
    while let Some(accepting) = endpoint.accept().await {
        let (welcome, connections) = (welcome.clone(), Arc::clone(&connections));
        let (seen, react) = (Arc::clone(&seen), Arc::clone(&react));
        tokio::spawn(async move {
            if let Ok(accepted) = accepting.finish().await {
                connections.fetch_add(1, Ordering::Relaxed);
                talk(accepted.connection, &welcome, &seen, &react).await;
            }
        });
    }
}

async fn talk(
    connection: Connection,
    welcome: &Welcome,
    seen: &Arc<Mutex<Vec<RequestFrame>>>,
    react: &Arc<Mutex<Box<React>>>,
) -> Option<()> {
    let mut hello = connection.open_uni().await.ok()?;
    hello.write(&[Bytes::from(welcome.encode())]).await.ok()?;
    loop {
        let (writer, reader) = connection.accept_bi().await.ok()?;
        let (connection, seen, react) = (connection.clone(), Arc::clone(seen), Arc::clone(react));
        tokio::spawn(async move { answer(&connection, writer, reader, &seen, &react).await });
    }
}

async fn answer(
    connection: &Connection,
    mut writer: FrameWriter,
    mut reader: FrameReader,
    seen: &Mutex<Vec<RequestFrame>>,
    react: &Mutex<Box<React>>,
) -> Option<()> {
    while let Some(bytes) = reader.next(limits::CLIENT_FRAME_BYTES).await.ok()? {
        let frame = RequestFrame::decode(&bytes).unwrap();
        let reaction = (react.lock().unwrap())(&frame);
        let id = frame.id;
        seen.lock().unwrap().push(frame);
        match reaction {
            Reaction::Answer(result) => {
                let answer = ResponseFrame { id, result }.encode();
                writer.write(&[Bytes::from(answer)]).await.ok()?;
            }
            Reaction::Ignore => {}
            Reaction::Drop => {
                connection.close(transport::CloseCode::Done, "test");
                return None;
            }
            Reaction::Blocks(frames) => {
                let frames: Vec<_> = frames.into_iter().map(|frame| Bytes::from(frame.encode())).collect();
                writer.write(&frames).await.ok()?;
                writer.finish();
                return None;
            }
            Reaction::Frames(frames) => {
                let frames: Vec<_> = frames.into_iter().map(|frame| Bytes::from(frame.encode())).collect();
                writer.write(&frames).await.ok()?;
                writer.finish();
                return None;
            }
            Reaction::Told(frames) => {
                let frames: Vec<_> = frames.into_iter().map(|frame| Bytes::from(frame.encode())).collect();
                writer.write(&frames).await.ok()?;
                writer.finish();
                return None;
            }
        }
    }
    None
}

/// Settings for these endpoints.
pub fn settings(pki: &Pki, endpoints: &[&str]) -> Settings {
    let endpoints = endpoints.iter().map(|address| (*address).to_owned()).collect();
    Settings { timeout: TIMEOUT, ..Settings::new(endpoints, pki.client()) }
}

/// An address at which datagrams arrive and nobody answers, for as long as the socket is held.
pub fn silent() -> (std::net::UdpSocket, String) {
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap().to_string();
    (socket, address)
}

/// An address at which nobody listens.
pub fn refused() -> String {
    silent().1
}

pub fn written(deduplicated: bool) -> Result<Response, Refused> {
    Ok(Response::Written { revision: 41, existed: false, deduplicated })
}

pub fn value() -> Result<Response, Refused> {
    Ok(Response::Value { found: None, revision: 55, staleness_ms: None })
}

pub fn not_leader(leader: u64, address: &str) -> Result<Response, Refused> {
    Err(Refused::NotLeader { leader: Some(leader), address: Some(address.to_owned()) })
}
