//! Every bound on what crosses a wire or enters the log. Each is tested at the bound and one past it.

/// Longest key, in bytes. The empty key is refused.
pub const KEY_BYTES: usize = 4 * 1024;
/// Longest value, in bytes.
pub const VALUE_BYTES: usize = 512 * 1024;
/// Keys and values of one write together, those of its conditions included.
pub const WRITE_BYTES: usize = 768 * 1024;
/// Most keys that one removal of a range may take. About so many are looked up and hidden in a tenth of a second, in which
/// the node does nothing else.
pub const DELETED_KEYS: usize = 10_000;
/// Most compares of one transaction.
pub const TRANSACTION_COMPARES: usize = 128;
/// Most actions of one transaction, either way.
pub const TRANSACTION_ACTIONS: usize = 128;
/// Most keys that one range of a transaction reads.
pub const TRANSACTION_ROWS: usize = 1000;
/// What the reads of one transaction may find together: keys, values, and [`ROW_BYTES`] for each row.
pub const RESULT_BYTES: usize = 768 * 1024;
/// What a row counts for beside key and value: more than its numbers take in a frame.
pub const ROW_BYTES: usize = 64;
/// What a change counts for in the window of what is kept, beside its key and the value that it replaced.
pub const CHANGE_BYTES: usize = 96;
/// Most changes that a window may keep.
pub const WINDOW_CHANGES: u64 = 10_000_000;
/// Longest time that a window may keep changes: 366 days.
pub const WINDOW_AGE_MS: u64 = 366 * 24 * 60 * 60 * 1000;
/// Most bytes that a window may keep.
pub const WINDOW_BYTES: u64 = 16 * 1024 * 1024 * 1024;
/// Most rows of a backup that one write stages.
pub const STAGED_ROWS: usize = 1024;
/// Shortest time to live of a key or a lease.
pub const TTL_MIN_MS: u64 = 100;
/// Longest time to live of a key or a lease: 366 days.
pub const TTL_MAX_MS: u64 = 366 * 24 * 60 * 60 * 1000;
/// Most leases that there are at a time, those included that single keys have of their own. Every node keeps all of them in
/// memory, about 200 bytes each.
pub const LEASES: usize = 200_000;
/// Most keys that one lease holds. They go at one revision.
pub const LEASE_KEYS: usize = 10_000;
/// What the keys that leases hold may have together, each with [`ROW_BYTES`]: every node keeps them in memory.
pub const LEASED_BYTES: usize = 128 * 1024 * 1024;
/// Most leases that one entry of the log names as over.
pub const EXPIRED_LEASES: usize = 1000;
/// One entry removes no further lease when it has removed so many keys of leases that are over.
pub const EXPIRED_KEYS: usize = 10_000;
/// Longest bound of a range: the longest key, and a byte more for what comes right after it.
pub const BOUND_BYTES: usize = KEY_BYTES + 1;
/// A page of a scan is full when its rows have so many bytes: the last of them may be a large one and still fits into a
/// client frame.
pub const PAGE_BYTES: usize = 128 * 1024;
/// A page of a scan is full with so many rows.
pub const PAGE_ROWS: usize = 1024;
/// Most scans of one client connection.
pub const SCANS_PER_CONNECTION: usize = 4;
/// Most watches of one client connection.
pub const WATCHES_PER_CONNECTION: usize = 48;
/// A frame of a watch is full when its events have so many bytes, or when there are so many of them ([`PAGE_ROWS`]), or
/// when the next does not fit under [`WATCH_EVENT_BYTES`].
pub const WATCH_FRAME_BYTES: usize = 128 * 1024;
/// What the events of one frame of a watch may have together, each with [`ROW_BYTES`]: more fits into a client frame with all
/// its numbers.
pub const WATCH_EVENT_BYTES: usize = 960 * 1024;
/// Values that one revision replaced, as far as they are shown to one watch: what is beyond is left out, which each event
/// says.
pub const WATCH_PREVIOUS_BYTES: usize = 8 * 1024 * 1024;
/// After so long a silence a watch is told that nothing happened.
pub const WATCH_SILENCE_MS: u64 = 5_000;
/// Longest client frame, length prefix not counted.
pub const CLIENT_FRAME_BYTES: usize = 1024 * 1024;
/// Longest peer frame, length prefix not counted: one append of the largest size.
pub const PEER_FRAME_BYTES: usize = 2 * 1024 * 1024;
/// Longest block of a state that is sent: its largest row, with room.
pub const SNAPSHOT_BLOCK_BYTES: usize = 1024 * 1024;
/// Longest frame of a save, length prefix not counted: a block, and what says that it is one.
pub const SAVE_FRAME_BYTES: usize = SNAPSHOT_BLOCK_BYTES + 16;
/// Most unary requests one client connection may have unanswered.
pub const REQUESTS_PER_CONNECTION: usize = 1024;
/// Most events that a node remembers and tells.
pub const EVENTS: usize = 1000;
/// Longest text of one.
pub const EVENT_BYTES: usize = 300;
/// Longest word for what it is.
pub const EVENT_KIND_BYTES: usize = 24;
/// Longest server name.
pub const NAME_BYTES: usize = 64;
/// Longest address of a server: a DNS name and a port.
pub const ADDRESS_BYTES: usize = 264;
/// Most steps of one change of members.
pub const MEMBER_EDITS: usize = 16;
/// Largest payload of one entry: the largest write with room for its envelope.
pub const ENTRY_BYTES: usize = 1024 * 1024;
/// Largest term or index that is accepted from a wire or a disk. No log gets there, and what is below it can be
/// added to without overflow.
pub const NUMBER: u64 = u64::MAX / 4;
/// A server whose log ends at most so many entries before what is committed has caught up: under load the newest are on their
/// way.
pub const CAUGHT_UP: u64 = 1024;
