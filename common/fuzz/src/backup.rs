//! A backup: a file of anything, read as `kvctl snapshot verify` reads it and restored as `kvd restore` does.
//!
//! ```text
//! input   what to mend u8 │ the file
//! ```
//!
//! Whatever is there, it is no backup or it is one; and where all checksums are right and the rest is not, a restore says
//! so, or what it built opens.

use std::{path::Path, sync::Arc};

use kvd::{
    disk::Disk,
    log::Settings,
    opening::{self, Place},
    restore,
    state::StateLimits,
};
use protocol::{ClusterId, snapshot::Reader};
use raft::{Index, Position};

use crate::{disk::Memory, seal};

pub(crate) fn run(bytes: &[u8]) {
    let Some((mends, file)) = bytes.split_first() else { return };
    let mut file = file.to_vec();
    if mends % 2 == 1 {
        seal::backup(&mut file);
    }
    let Ok(summary) = Reader::new(file.as_slice()).read_all() else { return };
    let Position { index, term } = summary.head.at;
    let at = Position { index: Index(index.0 + restore::AHEAD), term };
    let settings = Settings {
        segment_bytes: 8 << 10,
        chunk_bytes: 1 << 10,
        batch_bytes: 2 << 10,
        background: false,
        seed: 3,
    };
    let place = Place {
        log: Path::new("/log"),
        state: Path::new("/state"),
        cluster: ClusterId([8; 16]),
        limits: StateLimits { cache_bytes: 64 * 1024, request_ids: 12, ..StateLimits::default() },
        settings,
    };
    let disk: Arc<dyn Disk> = Arc::new(Memory::default());
    for dir in [place.log, place.state] {
        disk.create_dir(dir).expect("a disk that loses nothing takes a directory");
    }
    let reader = Reader::new(file.as_slice());
    if restore::build(&disk, place, (reader, Path::new("backup")), &summary, at).is_ok() {
        let opened = opening::open(&disk, place).expect("what was built opens");
        assert_eq!((opened.state.applied(), opened.log.last()), (at, at), "where it ends");
    }
}
