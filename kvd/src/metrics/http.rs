//! A request for one of three pages as bytes, and the head of the answer: as much of HTTP/1.1 (RFC 9112) as that takes.
//!
//! It is written by hand because it is so little: one request a connection, no body either way but ours, three fixed
//! paths. No HTTP library is among the dependencies of the daemon, and the smallest would be more code to trust on a port
//! of the process that keeps the data than this file. What it does not understand it refuses, and it has read at most
//! [`HEAD_BYTES`] by then.
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

use std::time::{SystemTime, UNIX_EPOCH};

/// Longest head of a request: its first line and its fields.
pub(crate) const HEAD_BYTES: usize = 8 * 1024;

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// `/metrics`.
    Metrics,
    /// `/livez`.
    Live,
    /// `/readyz`.
    Ready,
}

/// A request that makes sense.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ask {
    pub(crate) wanted: Wanted,
    /// Whether only the head of the answer is asked for.
    pub(crate) head_only: bool,
}

/// Status, and a word for whoever reads it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Refusal(pub(crate) u16, pub(crate) &'static str);

/// The request at the beginning of these bytes; `None` while its end has not come.
pub(crate) fn parse(bytes: &[u8]) -> Result<Option<Ask>, Refusal> {
    let Some(head) = whole(bytes) else {
        let full = bytes.len() >= HEAD_BYTES;
        return if full { Err(Refusal(431, "the head of the request is too long")) } else { Ok(None) };
    };
    let malformed = Refusal(400, "this is no request of HTTP/1.1");
    let head = std::str::from_utf8(head).map_err(|_| malformed)?;
    let mut lines = head.lines();
    let first = lines.next().ok_or(malformed)?;
    let [method, target, version] = first.split(' ').collect::<Vec<_>>()[..] else { return Err(malformed) };
    let minor = version.strip_prefix("HTTP/1.").ok_or(Refusal(505, "only HTTP/1.1 is spoken here"))?;
    if !is_token(method) || minor.len() != 1 || !minor.bytes().all(|digit| digit.is_ascii_digit()) {
        return Err(malformed);
    }
    check_fields(lines, minor != "0").map_err(|refusal| refusal.unwrap_or(malformed))?;
    let wanted = match path_of(target).ok_or(malformed)? {
        "/metrics" => Wanted::Metrics,
        "/livez" => Wanted::Live,
        "/readyz" => Wanted::Ready,
        _ => return Err(Refusal(404, "there are /metrics, /livez and /readyz")),
    };
    match method {
        "GET" => Ok(Some(Ask { wanted, head_only: false })),
        "HEAD" => Ok(Some(Ask { wanted, head_only: true })),
        _ => Err(Refusal(405, "only GET and HEAD do anything here")),
    }
}

/// The head without the empty line that ends it. Lines end in CR LF or, as RFC 9112 lets a reader take it, in LF alone; one
/// empty line may come before.
fn whole(bytes: &[u8]) -> Option<&[u8]> {
    let bytes = bytes.strip_prefix(b"\r\n").or_else(|| bytes.strip_prefix(b"\n")).unwrap_or(bytes);
    let bytes = bytes.get(..HEAD_BYTES).unwrap_or(bytes);
    let ends = [&b"\r\n\r\n"[..], b"\n\n", b"\n\r\n"];
    let at = |end: &&[u8]| bytes.windows(end.len()).position(|window| window == *end);
    ends.iter().filter_map(at).min().and_then(|at| bytes.get(..at))
}

/// Refuses fields that are none, a request without its host, and every body.
fn check_fields<'a>(lines: impl Iterator<Item = &'a str>, wants_host: bool) -> Result<(), Option<Refusal>> {
    let mut hosts = 0_usize;
    for line in lines {
        let (name, value) = line.split_once(':').ok_or(None)?;
        let plain = |byte: u8| byte == b'\t' || !byte.is_ascii_control();
        if !is_token(name) || !value.bytes().all(plain) {
            return Err(None);
        }
        let body = Refusal(413, "a request has no body here");
        match name.to_ascii_lowercase().as_str() {
            "host" => hosts = hosts.saturating_add(1),
            "transfer-encoding" => return Err(Some(body)),
            "content-length" if value.trim() != "0" => return Err(Some(body)),
            _ => {}
        }
    }
    if hosts > 1 || (wants_host && hosts == 0) { Err(None) } else { Ok(()) }
}

/// The path of a target, which may be a whole address and may have a query.
fn path_of(target: &str) -> Option<&str> {
    let path = match target.strip_prefix("http://") {
        Some(rest) => rest.get(rest.find('/')?..)?,
        None => target,
    };
    let plain = path.starts_with('/') && path.bytes().all(|byte| byte.is_ascii_graphic());
    plain.then(|| path.split('?').next().unwrap_or(path))
}

fn is_token(text: &str) -> bool {
    let is = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !text.is_empty() && text.bytes().all(is)
}

/// An answer with everything before its body, and the body where it is wanted.
pub(crate) fn answer(status: u16, kind: &str, body: &str, head_only: bool, now: SystemTime) -> Vec<u8> {
    let reason = match status {
        200 => "OK",
        400 => "Bad Request",
        404 => "Not Found",
        405 => "Method Not Allowed",
        413 => "Content Too Large",
        431 => "Request Header Fields Too Large",
        505 => "HTTP Version Not Supported",
        _ => "Service Unavailable",
    };
    let allow = if status == 405 { "Allow: GET, HEAD\r\n" } else { "" };
    let head = format!(
        "HTTP/1.1 {status} {reason}\r\nDate: {}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n{allow}\
         Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\nConnection: close\r\n\r\n",
        date(now),
        body.len()
    );
    (head + if head_only { "" } else { body }).into_bytes()
}

/// `Sun, 06 Nov 1994 08:49:37 GMT`.
fn date(now: SystemTime) -> String {
    const WEEKDAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    const MONTHS: [(&str, u64); 12] = [
        ("Jan", 31),
        ("Feb", 28),
        ("Mar", 31),
        ("Apr", 30),
        ("May", 31),
        ("Jun", 30),
        ("Jul", 31),
        ("Aug", 31),
        ("Sep", 30),
        ("Oct", 31),
        ("Nov", 30),
        ("Dec", 31),
    ];
    let since = now.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let (days, second) = (since / 86_400, since % 86_400);
    let leap = |year: u64| year.is_multiple_of(4) && !year.is_multiple_of(100) || year.is_multiple_of(400);
    let weekday = WEEKDAYS.iter().cycle().nth(usize::try_from(days % 7).unwrap_or(0)).unwrap_or(&"Thu");
    let (mut year, mut left) = (1970_u64, days);
    let length = |year| if leap(year) { 366 } else { 365 };
    while left >= length(year) {
        left = left.saturating_sub(length(year));
        year = year.saturating_add(1);
    }
    let mut month = "Dec";
    for (name, length) in MONTHS {
        let length = length.saturating_add(u64::from(name == "Feb" && leap(year)));
        if left < length {
            month = name;
            break;
        }
        left = left.saturating_sub(length);
    }
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{weekday}, {:02} {month} {year} {hour:02}:{minute:02}:{second:02} GMT", left.saturating_add(1))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const GET: Ask = Ask { wanted: Wanted::Metrics, head_only: false };

    fn code(text: &str) -> u16 {
        parse(text.as_bytes()).unwrap_err().0
    }

    #[test]
    fn three_pages_are_known() {
        for (path, wanted) in
            [("/metrics", Wanted::Metrics), ("/livez", Wanted::Live), ("/readyz?x=1", Wanted::Ready)]
        {
            for head_only in [false, true] {
                let method = if head_only { "HEAD" } else { "GET" };
                let text = format!("{method} {path} HTTP/1.1\r\nHost: a\r\nAccept: */*\r\n\r\n");
                assert_eq!(parse(text.as_bytes()), Ok(Some(Ask { wanted, head_only })), "{text}");
            }
        }
        for text in [
            "GET /metrics HTTP/1.0\r\n\r\n",
            "GET /metrics HTTP/1.0\n\n",
            "\r\nGET http://h:1/metrics HTTP/1.1\r\nhost:h\r\nContent-Length: 0\r\n\r\nrest",
            "GET /metrics HTTP/1.1\nHost: a\n\n",
            "GET /metrics HTTP/1.1\nHost: a\r\n\r\n",
        ] {
            assert_eq!(parse(text.as_bytes()), Ok(Some(GET)), "{text:?}");
        }
    }

    #[test]
    fn an_unfinished_head_is_waited_for_up_to_its_bound() {
        let text = "GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n";
        for end in 0..text.len() {
            assert_eq!(parse(&text.as_bytes()[..end]), Ok(None), "{end}");
        }
        let long = |size: usize| {
            let head = "GET /metrics HTTP/1.1\r\nHost: a\r\nX: ";
            format!("{head}{}\r\n\r\n", "x".repeat(size - head.len() - 4))
        };
        assert_eq!(parse(long(HEAD_BYTES).as_bytes()), Ok(Some(GET)));
        assert_eq!(code(&long(HEAD_BYTES + 1)), 431);
        assert_eq!(parse(&[b'x'; HEAD_BYTES - 1]), Ok(None));
        assert_eq!(parse(&[b'x'; HEAD_BYTES]).unwrap_err().0, 431);
    }

    #[test]
    fn everything_else_is_refused() {
        let host = "Host: a\r\n\r\n";
        for (text, want) in [
            (format!("POST /metrics HTTP/1.1\r\n{host}"), 405),
            (format!("GET / HTTP/1.1\r\n{host}"), 404),
            (format!("GET /metricsx HTTP/1.1\r\n{host}"), 404),
            (format!("GET /metrics HTTP/2.0\r\n{host}"), 505),
            (format!("GET /metrics HTTP/1.12\r\n{host}"), 400),
            (format!("GET /metrics FTP\r\n{host}"), 505),
            (format!("GET  /metrics HTTP/1.1\r\n{host}"), 400),
            (format!("GET metrics HTTP/1.1\r\n{host}"), 400),
            (format!("GET /metrics\r\n{host}"), 400),
            (format!("G(T /metrics HTTP/1.1\r\n{host}"), 400),
            ("GET /metrics HTTP/1.1\r\n\r\n".to_owned(), 400),
            (format!("GET /metrics HTTP/1.1\r\nHost: b\r\n{host}"), 400),
            (format!("GET /metrics HTTP/1.1\r\nHost : b\r\n{host}"), 400),
            (format!("GET /metrics HTTP/1.1\r\nX: a\r\n b\r\n{host}"), 400),
            (format!("GET /metrics HTTP/1.1\r\nnothing\r\n{host}"), 400),
            (format!("GET /metrics HTTP/1.1\r\nX: \u{0}\r\n{host}"), 400),
            (format!("GET /metrics HTTP/1.1\r\nContent-Length: 5\r\n{host}"), 413),
            (format!("GET /metrics HTTP/1.1\r\nTransfer-Encoding: chunked\r\n{host}"), 413),
            ("\r\n\r\n\r\n".to_owned(), 400),
        ] {
            assert_eq!(code(&text), want, "{text:?}");
        }
        assert_eq!(parse(b"GET /\xff HTTP/1.1\r\n\r\n").unwrap_err().0, 400);
    }

    #[test]
    fn arbitrary_bytes_are_answered() {
        let mut seed = 7_u64;
        for _ in 0..20_000 {
            let mut bytes = Vec::new();
            for _ in 0..seed % 60 {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                bytes.push(
                    b"GET /metrics HTTP/1.1\r\nHost: \0\xff"[usize::try_from(seed >> 33).unwrap() % 31],
                );
            }
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(3);
            let _ = parse(&bytes);
        }
    }

    #[test]
    fn an_answer_has_its_length_and_its_date() {
        let at = |seconds| date(UNIX_EPOCH + Duration::from_secs(seconds));
        assert_eq!(at(784_111_777), "Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(
            (at(0), at(951_782_400)),
            ("Thu, 01 Jan 1970 00:00:00 GMT".into(), "Tue, 29 Feb 2000 00:00:00 GMT".into())
        );
        assert_eq!(at(4_107_542_399), "Sun, 28 Feb 2100 23:59:59 GMT");
        assert_eq!(at(4_107_542_400), "Mon, 01 Mar 2100 00:00:00 GMT");
        let text =
            |head_only| String::from_utf8(answer(200, "text/plain", "ok\n", head_only, UNIX_EPOCH)).unwrap();
        assert!(text(false).starts_with("HTTP/1.1 200 OK\r\n") && text(false).ends_with("\r\n\r\nok\n"));
        assert!(text(true).contains("\r\nContent-Length: 3\r\n") && text(true).ends_with("\r\n\r\n"));
        assert!(
            String::from_utf8(answer(405, "x", "", false, UNIX_EPOCH))
                .unwrap()
                .contains("\r\nAllow: GET, HEAD\r\n")
        );
    }
}
