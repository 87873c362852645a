//! What every decoder must survive: one function of bytes for each of them, which panics when a promise is broken.
//!
//! | target | bytes become | and then |
//! | --- | --- | --- |
//! | `client` | request, response, answer to a scan, welcome, command | encoded and decoded again they are the same |
//! | `peer` | a frame between servers, as it came and with its checksums mended | the decoder's promises hold |
//! | `server` | what peers say, in which order, while disk and state lag | the core keeps its own rules |
//! | `log` | segments, with as much mended as the input asks for | what opens can be read, written and opened again |
//! | `config` | a configuration, in TOML or JSON | what is accepted is what `docs/operations.md` allows |
//! | `context` | a context or the choice of one | the four settings are there |
//! | `command` | words for `kvctl`, `kvd`, and a line for `kvshell` | a value or a message |
//! | `http` | a request for metrics, whole and piece by piece | an answer or a refusal, the same either way |
//! | `state` | the blocks of a state that a peer sends | it is refused, or whole and opens |
//! | `backup` | a file of a backup | it is no backup, or can be restored or is refused |
//! | `rows` | a line of an import, a pattern of keys | exported and read again it is the same |
//! | `stored` | rows, request ids, identity records | encoded and decoded again they are the same |
//!
//! The same functions run in two ways. With the feature `libfuzzer` and the flags that `common/fuzz/run` gives to the
//! compiler, `src/main.rs` hosts all of them in one program in which libFuzzer looks for inputs that reach code no
//! input reached before. In every other build, `tests/replay.rs` runs the inputs kept in `corpus/`, where an input
//! that once broke something stays.
//!
//! A target is a function of its input alone: no clock, no randomness, nothing kept from one input to the next.

mod backup;
mod client;
mod command;
mod config;
mod context;
mod disk;
mod http;
mod input;
mod log;
mod mend;
mod peer;
mod rows;
mod seal;
mod server;
mod state;
mod stored;

/// One decoder, or a few that read the same bytes.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Its name, and that of its folder in the corpus.
    pub name: &'static str,
    /// Decodes an input and panics when something is wrong with what comes of it.
    pub run: fn(&[u8]),
}

/// All of them.
pub const TARGETS: &[Target] = &[
    Target { name: "client", run: client::run },
    Target { name: "peer", run: peer::run },
    Target { name: "server", run: server::run },
    Target { name: "log", run: log::run },
    Target { name: "config", run: config::run },
    Target { name: "context", run: context::run },
    Target { name: "command", run: command::run },
    Target { name: "http", run: http::run },
    Target { name: "state", run: state::run },
    Target { name: "backup", run: backup::run },
    Target { name: "rows", run: rows::run },
    Target { name: "stored", run: stored::run },
];
