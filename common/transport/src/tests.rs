//! Real endpoints on loopback, ports by the kernel.

use std::{
    fs,
    net::SocketAddr,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;

use crate::{
    Accepted, Authority, Connection, Endpoint, Identity, Issued, Kind, Settings, Subject, TlsFault,
    TransportError, Whose, issue::Validity,
};

const LOOPBACK: ([u8; 4], u16) = ([127, 0, 0, 1], 0);
const HOSTS: [&str; 2] = ["127.0.0.1", "localhost"];
const BOUND: Duration = Duration::from_secs(10);

fn authority() -> Authority {
    Authority::create("test CA", 10).unwrap()
}

fn identity(authority: &Authority, issued: &Issued) -> Identity {
    Identity::from_pem(authority.cert_pem(), &issued.cert_pem, &issued.key_pem).unwrap()
}

fn node(authority: &Authority, id: u64) -> Identity {
    identity(authority, &authority.issue_node(id, &HOSTS, 10).unwrap())
}

fn client(authority: &Authority) -> Identity {
    identity(authority, &authority.issue_client("alice", 10).unwrap())
}

fn server(identity: &Identity) -> Endpoint {
    Endpoint::server(LOOPBACK.into(), identity, &Settings::default()).unwrap()
}

fn tool(identity: &Identity) -> Endpoint {
    Endpoint::client(identity, &Settings::client()).unwrap()
}

/// The next connection and what the handshake said, while `dial` goes on beside it.
async fn meet(
    server: &Endpoint,
    dial: impl Future<Output = Result<Connection, TransportError>>,
) -> (Result<Accepted, TransportError>, Result<Connection, TransportError>) {
    let accept = async { server.accept().await.unwrap().finish().await };
    tokio::time::timeout(BOUND, async { tokio::join!(accept, dial) }).await.unwrap()
}

/// A peer connection between node 1, which accepts, and node 2.
async fn pair() -> (Endpoint, Endpoint, Connection, Connection) {
    let ca = authority();
    let (one, two) = (server(&node(&ca, 1)), server(&node(&ca, 2)));
    let (accepted, dialed) = meet(&one, two.dial_peer(one.local_addr(), 1)).await;
    (one, two, accepted.unwrap().connection, dialed.unwrap())
}

fn fault(error: &TransportError) -> (Whose, TlsFault) {
    match error {
        TransportError::Tls { reason } => (reason.whose, reason.fault.clone()),
        other => panic!("not a TLS failure: {other:?}"),
    }
}

async fn end(connection: &Connection) -> TransportError {
    tokio::time::timeout(BOUND, connection.closed()).await.unwrap()
}

#[tokio::test]
async fn peers_and_clients_share_a_port() {
    let ca = authority();
    let one = server(&node(&ca, 1));
    let (accepted, dialed) = meet(&one, tool(&client(&ca)).dial_client(one.local_addr())).await;
    let accepted = accepted.unwrap();
    assert_eq!((accepted.kind, accepted.subject), (Kind::Client, Subject::Client { name: "alice".into() }));
    assert_eq!(*dialed.unwrap().subject(), Subject::Node { id: 1 });

    let two = server(&node(&ca, 2));
    let (accepted, dialed) = meet(&one, two.dial_peer(one.local_addr(), 1)).await;
    let accepted = accepted.unwrap();
    assert_eq!((accepted.kind, accepted.subject), (Kind::Peer { node: 2 }, Subject::Node { id: 2 }));
    assert_eq!(dialed.unwrap().remote_address(), one.local_addr());
}

#[tokio::test]
async fn a_server_of_another_ca_is_refused() {
    let (ours, theirs) = (authority(), authority());
    let one = server(&node(&theirs, 1));
    let (accepted, dialed) = meet(&one, tool(&client(&ours)).dial_client(one.local_addr())).await;
    assert_eq!(fault(&dialed.unwrap_err()), (Whose::Theirs, TlsFault::UnknownAuthority));
    assert_eq!(fault(&accepted.unwrap_err()), (Whose::Ours, TlsFault::UnknownAuthority));
}

#[tokio::test]
async fn a_client_of_another_ca_is_refused() {
    let (ours, theirs) = (authority(), authority());
    let one = server(&node(&ours, 1));
    let stranger = theirs.issue_client("mallory", 10).unwrap();
    // Trusts the server's CA and is itself of another one.
    let stranger = Identity::from_pem(ours.cert_pem(), &stranger.cert_pem, &stranger.key_pem).unwrap();
    let (accepted, dialed) = meet(&one, tool(&stranger).dial_client(one.local_addr())).await;
    assert_eq!(fault(&accepted.unwrap_err()), (Whose::Theirs, TlsFault::UnknownAuthority));
    let error = match dialed {
        Ok(connection) => end(&connection).await,
        Err(error) => error,
    };
    assert_eq!(fault(&error), (Whose::Ours, TlsFault::UnknownAuthority));
}

#[tokio::test]
async fn a_client_certificate_is_no_peer() {
    let ca = authority();
    let one = server(&node(&ca, 1));
    // A program that dials the peer protocol with a client's certificate.
    let impostor = server(&client(&ca));
    let (accepted, dialed) = meet(&one, impostor.dial_peer(one.local_addr(), 1)).await;
    assert_eq!(fault(&accepted.unwrap_err()), (Whose::Theirs, TlsFault::WrongRole));
    let connection = dialed.unwrap();
    assert_eq!(fault(&end(&connection).await), (Whose::Ours, TlsFault::WrongRole));
    assert_eq!(
        fault(&tool(&client(&ca)).dial_peer(one.local_addr(), 1).await.unwrap_err()).1,
        TlsFault::WrongRole
    );
}

#[tokio::test]
async fn a_client_certificate_is_no_server() {
    let ca = authority();
    let impostor = server(&client(&ca));
    let (_, dialed) = meet(&impostor, tool(&client(&ca)).dial_client(impostor.local_addr())).await;
    let (whose, fault) = fault(&dialed.unwrap_err());
    assert_eq!(whose, Whose::Theirs);
    assert!(matches!(fault, TlsFault::WrongName | TlsFault::WrongRole), "{fault:?}");
}

#[tokio::test]
async fn expired_certificates_are_refused_at_both_ends() {
    let ca = authority();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let ago = |hours: u64| now.checked_sub(Duration::from_secs(hours * 3600)).unwrap();
    let past = Validity { from: ago(3), until: ago(1) };

    let old_node = identity(&ca, &ca.node(1, &HOSTS, past).unwrap());
    assert_eq!(old_node.days_left(), -1);
    let one = server(&old_node);
    let (_, dialed) = meet(&one, tool(&client(&ca)).dial_client(one.local_addr())).await;
    assert_eq!(fault(&dialed.unwrap_err()), (Whose::Theirs, TlsFault::Expired));

    let old_client = identity(&ca, &ca.client("alice", past).unwrap());
    let one = server(&node(&ca, 1));
    let (accepted, _) = meet(&one, tool(&old_client).dial_client(one.local_addr())).await;
    assert_eq!(fault(&accepted.unwrap_err()), (Whose::Theirs, TlsFault::Expired));
}

#[tokio::test]
async fn another_node_than_the_one_dialed_is_refused() {
    let ca = authority();
    let (one, three) = (server(&node(&ca, 1)), server(&node(&ca, 3)));
    let (_, dialed) = meet(&three, one.dial_peer(three.local_addr(), 2)).await;
    assert_eq!(fault(&dialed.unwrap_err()), (Whose::Theirs, TlsFault::WrongName));
}

#[tokio::test]
async fn frames_pass_up_to_the_limit() {
    let (_one, _two, accepted, dialed) = pair().await;
    let limit = 100_000;
    let frames = [Bytes::new(), Bytes::from_static(b"small"), Bytes::from(vec![7; limit])];
    let mut writer = dialed.open_uni().await.unwrap();
    let write = async {
        writer.write(&frames).await.unwrap();
        writer.write(&[Bytes::from(vec![7; limit + 1])]).await.unwrap();
        writer.finish();
    };
    let read = async {
        let mut reader = accepted.accept_uni().await.unwrap();
        for frame in &frames {
            assert_eq!(reader.next(limit).await.unwrap().as_ref(), Some(frame));
        }
        reader.next(limit).await.unwrap_err()
    };
    let ((), error) = tokio::time::timeout(BOUND, async { tokio::join!(write, read) }).await.unwrap();
    assert!(matches!(error, TransportError::TooLarge { size: 100_001, limit: 100_000 }), "{error:?}");
}

#[tokio::test]
async fn the_end_of_a_stream_is_told_from_a_cut() {
    let (_one, _two, accepted, dialed) = pair().await;
    let mut whole = dialed.open_uni().await.unwrap();
    whole.write(&[Bytes::from_static(b"whole")]).await.unwrap();
    whole.finish();
    let mut reader = accepted.accept_uni().await.unwrap();
    assert_eq!(reader.next(9).await.unwrap().unwrap(), "whole");
    assert_eq!(reader.next(9).await.unwrap(), None);

    let mut half = dialed.open_uni().await.unwrap();
    half.write_raw(&[0, 0, 0, 9, 1]).await;
    half.finish();
    let mut reader = accepted.accept_uni().await.unwrap();
    assert!(matches!(reader.next(9).await, Err(TransportError::Cut(_))));
}

#[tokio::test]
async fn a_cancelled_read_loses_nothing() {
    let (_one, _two, accepted, dialed) = pair().await;
    let mut writer = dialed.open_uni().await.unwrap();
    writer.write_raw(&[0, 0, 0, 4, b'a', b'b']).await;
    let mut reader = accepted.accept_uni().await.unwrap();
    // Half the frame has arrived; the read that took it is given up.
    while reader.buffered_bytes() < 6 {
        let read = reader.next(9);
        tokio::select! {
            biased;
            frame = read => panic!("half a frame was read as {frame:?}"),
            () = tokio::task::yield_now() => {}
        }
    }
    writer.write_raw(b"cd").await;
    assert_eq!(reader.next(9).await.unwrap().unwrap(), "abcd");
}

#[tokio::test]
async fn both_directions_of_a_stream_carry_frames() {
    let (_one, _two, accepted, dialed) = pair().await;
    let echo = async {
        let (mut writer, mut reader) = accepted.accept_bi().await.unwrap();
        while let Some(frame) = reader.next(100).await.unwrap() {
            writer.write(&[frame]).await.unwrap();
        }
        writer.finish();
    };
    let ask = async {
        let (mut writer, mut reader) = dialed.open_bi().await.unwrap();
        writer.write(&[Bytes::from_static(b"a"), Bytes::from_static(b"b")]).await.unwrap();
        writer.finish();
        let mut answers = Vec::new();
        while let Some(frame) = reader.next(100).await.unwrap() {
            answers.push(frame);
        }
        answers
    };
    let ((), answers) = tokio::time::timeout(BOUND, async { tokio::join!(echo, ask) }).await.unwrap();
    assert_eq!(answers, ["a", "b"]);
}

#[tokio::test]
async fn garbage_leaves_the_endpoint_unharmed() {
    let ca = authority();
    let one = server(&node(&ca, 1));
    let socket = std::net::UdpSocket::bind(SocketAddr::from(LOOPBACK)).unwrap();
    // Every first byte (long and short headers among them) at sizes around the smallest Initial.
    for first in 0..=u8::MAX {
        for size in [1, 20, 1199, 1200, 1400] {
            let mut datagram: Vec<u8> =
                (0..=u8::MAX).cycle().map(|at| at ^ first.wrapping_mul(31)).take(size).collect();
            datagram[0] = first;
            // Version 1, so that some get as far as the cryptography.
            if size > 5 && first % 2 == 0 {
                datagram[1..5].copy_from_slice(&1_u32.to_be_bytes());
            }
            let _ = socket.send_to(&datagram, one.local_addr());
        }
    }
    let (accepted, dialed) = meet(&one, tool(&client(&ca)).dial_client(one.local_addr())).await;
    assert_eq!(accepted.unwrap().kind, Kind::Client);
    dialed.unwrap();
}

#[tokio::test]
async fn refused_is_told_from_silent() {
    let ca = authority();
    let settings = Settings { connect_timeout: Duration::from_millis(200), ..Settings::client() };
    let tool = Endpoint::client(&client(&ca), &settings).unwrap();

    let listening = std::net::UdpSocket::bind(SocketAddr::from(LOOPBACK)).unwrap();
    let address = listening.local_addr().unwrap();
    assert!(matches!(tool.dial_client(address).await, Err(TransportError::Silent)));

    drop(listening);
    let before = Instant::now();
    assert!(matches!(tool.dial_client(address).await, Err(TransportError::Refused)));
    assert!(before.elapsed() < settings.connect_timeout, "a refusal must not cost the timeout");
}

#[tokio::test]
async fn new_connections_use_a_reloaded_identity() {
    let (old, new) = (authority(), authority());
    let one = server(&node(&old, 1));
    let (accepted, dialed) = meet(&one, tool(&client(&old)).dial_client(one.local_addr())).await;
    let (accepted, dialed) = (accepted.unwrap(), dialed.unwrap());

    one.reload(&node(&new, 1)).unwrap();
    let (_, refused) = meet(&one, tool(&client(&old)).dial_client(one.local_addr())).await;
    assert_eq!(fault(&refused.unwrap_err()), (Whose::Theirs, TlsFault::UnknownAuthority));
    let (_, welcome) = meet(&one, tool(&client(&new)).dial_client(one.local_addr())).await;
    welcome.unwrap();

    // The connection from before is still there.
    let mut writer = dialed.open_uni().await.unwrap();
    writer.write(&[Bytes::from_static(b"still")]).await.unwrap();
    let mut reader = accepted.connection.accept_uni().await.unwrap();
    assert_eq!(reader.next(9).await.unwrap().unwrap(), "still");
}

#[tokio::test]
async fn closing_tells_the_far_end_why() {
    let (one, _two, accepted, dialed) = pair().await;
    accepted.close(crate::CloseCode::Limit, "too much");
    assert!(matches!(end(&dialed).await, TransportError::Closed(reason) if reason == "too much"));
    one.close();
    assert!(one.accept().await.is_none());
}

#[tokio::test]
async fn a_restarted_server_is_noticed_at_once() {
    let ca = authority();
    // Were it for the idle timer, the test would fail by its bound.
    let patient = Duration::from_mins(1);
    let settings = Settings { reset_key: Some([7; 64]), idle_timeout: patient, ..Settings::default() };
    let two = Endpoint::server(LOOPBACK.into(), &node(&ca, 2), &settings).unwrap();
    let (identity, bound) = (node(&ca, 1), std::sync::mpsc::channel());
    let victim = std::thread::spawn({
        let (identity, settings, bound) = (identity.clone(), settings.clone(), bound.0);
        move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            let left = runtime.block_on(async {
                let endpoint = Endpoint::server(LOOPBACK.into(), &identity, &settings).unwrap();
                bound.send(endpoint.local_addr()).unwrap();
                let accepted = endpoint.accept().await.unwrap().finish().await.unwrap();
                // The far end is connected for good once it has been heard from.
                accepted.connection.accept_uni().await.unwrap();
                (endpoint, accepted)
            });
            // As when the process is killed: nothing is said, the socket just goes.
            drop(runtime);
            drop(left);
        }
    });
    let address = bound.1.recv().unwrap();
    let dialed = two.dial_peer(address, 1).await.unwrap();
    let mut writer = dialed.open_uni().await.unwrap();
    writer.write(&[Bytes::from_static(b"hello")]).await.unwrap();
    tokio::task::spawn_blocking(move || victim.join().unwrap()).await.unwrap();
    let mut again = Endpoint::server(address, &identity, &settings);
    while again.is_err() {
        tokio::task::yield_now().await;
        again = Endpoint::server(address, &identity, &settings);
    }
    assert!(matches!(end(&dialed).await, TransportError::Lost(why) if why.contains("reset")));
}

#[tokio::test]
async fn a_crowd_first_proves_its_addresses() {
    let ca = authority();
    let settings = Settings { retry_above: 0, ..Settings::default() };
    let one = Endpoint::server(LOOPBACK.into(), &node(&ca, 1), &settings).unwrap();
    let accept = async {
        let accepting = one.accept().await.unwrap();
        assert!(accepting.remote_address_validated());
        accepting.finish().await
    };
    let tool = tool(&client(&ca));
    let both = async { tokio::join!(accept, tool.dial_client(one.local_addr())) };
    let (accepted, dialed) = tokio::time::timeout(BOUND, both).await.unwrap();
    accepted.unwrap();
    dialed.unwrap();
}

#[tokio::test]
async fn handshakes_are_bounded() {
    let ca = authority();
    let settings = Settings { handshakes: 1, ..Settings::default() };
    let one = Endpoint::server(LOOPBACK.into(), &node(&ca, 1), &settings).unwrap();
    let tools = [tool(&client(&ca)), tool(&client(&ca))];
    let [first, second] = tools.each_ref().map(|tool| tool.dial_client(one.local_addr()));
    let serve = async {
        let held = one.accept().await.unwrap();
        // Whoever comes while the only place is taken is refused, inside this call.
        let rest = one.accept().await.unwrap();
        (held, rest)
    };
    let refused = tokio::time::timeout(BOUND, async {
        tokio::select! {
            _ = serve => panic!("two handshakes at a time"),
            error = async { tokio::select! { error = first => error, error = second => error } } => error,
        }
    });
    let error = refused.await.unwrap().unwrap_err();
    assert!(matches!(error, TransportError::Busy), "{error:?}");
}

#[test]
fn a_handshake_that_stalls_is_given_up() {
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (ours, theirs) = (runtime(), runtime());
    let ca = authority();
    // The idle timer must not be what ends it.
    let patient = Settings { idle_timeout: Duration::from_mins(1), ..Settings::default() };
    let settings = Settings { handshake_timeout: Duration::from_millis(50), ..patient.clone() };
    let one = ours.block_on(async { Endpoint::server(LOOPBACK.into(), &node(&ca, 1), &settings).unwrap() });
    let tool = theirs.block_on(async { Endpoint::client(&client(&ca), &patient).unwrap() });
    let mut dial = std::pin::pin!(tool.dial_client(one.local_addr()));
    // The dialing end runs until its first packet is there, and then never again.
    let accepting = loop {
        theirs.block_on(async {
            tokio::select! {
                biased;
                _ = &mut dial => panic!("connected to nobody"),
                () = tokio::task::yield_now() => {}
            }
        });
        let accepted =
            ours.block_on(async { tokio::time::timeout(Duration::from_millis(5), one.accept()).await });
        if let Ok(accepting) = accepted {
            break accepting.unwrap();
        }
    };
    let finished = ours.block_on(async { tokio::time::timeout(BOUND, accepting.finish()).await.unwrap() });
    assert!(matches!(finished, Err(TransportError::Silent)));
}

#[test]
fn certificates_say_who_they_are_for() {
    let ca = authority();
    let one = node(&ca, 1);
    assert_eq!(*one.subject(), Subject::Node { id: 1 });
    // Nine once the second in which it was made is over.
    assert!(matches!(one.days_left(), 9 | 10));
    assert_eq!(one.ca_fingerprint(), client(&ca).ca_fingerprint());
    assert_ne!(one.ca_fingerprint(), node(&authority(), 1).ca_fingerprint());
    assert!(ca.issue_node(0, &HOSTS, 1).is_err());
    assert!(ca.issue_node(1, &["not a host"], 1).is_err());
    assert!(ca.issue_client("a/b", 1).is_err());
    assert!(ca.issue_client("", 1).is_err());
    let most = protocol::limits::NAME_BYTES;
    assert!(ca.issue_client(&"n".repeat(most), 1).is_ok());
    assert!(ca.issue_client(&"n".repeat(most + 1), 1).is_err());
}

#[test]
fn an_authority_that_was_saved_issues_what_is_trusted() {
    let ca = authority();
    let loaded = Authority::load(ca.cert_pem(), &ca.key_pem()).unwrap();
    let issued = loaded.issue_client("bob", 1).unwrap();
    assert_eq!(*identity(&ca, &issued).subject(), Subject::Client { name: "bob".into() });
}

#[test]
fn a_key_of_another_certificate_is_refused() {
    let ca = authority();
    let (one, two) = (ca.issue_client("one", 1).unwrap(), ca.issue_client("two", 1).unwrap());
    assert!(Identity::from_pem(ca.cert_pem(), &one.cert_pem, &two.key_pem).is_err());
    // The CA's own certificate says no role.
    assert!(Identity::from_pem(ca.cert_pem(), ca.cert_pem(), &ca.key_pem()).is_err());
    assert!(Identity::from_pem("", &one.cert_pem, &one.key_pem).is_err());
}

#[cfg(unix)]
#[test]
fn a_key_that_others_can_read_is_refused() {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let ca = authority();
    let issued = ca.issue_node(1, &HOSTS, 1).unwrap();
    fs::write(at("ca.pem"), ca.cert_pem()).unwrap();
    fs::write(at("cert.pem"), &issued.cert_pem).unwrap();
    fs::write(at("key.pem"), &issued.key_pem).unwrap();
    let load = |mode| {
        fs::set_permissions(at("key.pem"), fs::Permissions::from_mode(mode)).unwrap();
        Identity::load(&at("ca.pem"), &at("cert.pem"), &at("key.pem"))
    };
    assert_eq!(*load(0o600).unwrap().subject(), Subject::Node { id: 1 });
    for mode in [0o640, 0o604] {
        assert!(matches!(load(mode), Err(TransportError::KeyExposed { mode: said, .. }) if said == mode));
    }
}
