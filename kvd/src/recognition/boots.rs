//! How often a process was started on these data directories: a number in a file of its own, counted durably before the
//! process says a word.
//!
//! ```text
//! # Written by kvd at each start. Do not edit, copy or remove.
//! format = 1
//! boots = 7
//! ```
//!
//! Directories without the file were never counted, so this is the first boot; a file that cannot be read ends the start.

use std::path::{Path, PathBuf};

use protocol::{Presence, limits};
use serde::Deserialize;

use crate::bootstrap::files;

/// Its name, in the log's directory: who loses the log loses it too.
const FILE: &str = "boots";
const FORMAT: u32 = 1;

/// Why the starts could not be counted.
#[derive(Debug, thiserror::Error)]
#[error("{}: {why}\n  try: check the disk; if it was damaged, wipe this node's directories, start it and `kvctl member readmit` it", path.display())]
pub struct BootsError {
    /// The file.
    pub path: PathBuf,
    /// What is wrong with it.
    pub why: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Text {
    format: u32,
    boots: u64,
}

/// Counts a start of this incarnation; which life of the server that is.
pub(crate) fn present(dir: &Path, incarnation: [u8; 16]) -> Result<Presence, BootsError> {
    let path = dir.join(FILE);
    let failed = |why: String| BootsError { path: path.clone(), why };
    let text = files::read_small(&path).map_err(|error| failed(error.to_string()))?;
    let before = text.map_or(Ok(0), |text| decode(&text)).map_err(failed)?;
    let boot = before.saturating_add(1);
    files::write_private(&path, encode(boot).as_bytes()).map_err(|error| failed(error.to_string()))?;
    let mut process = [0; 8];
    getrandom::fill(&mut process).map_err(|error| failed(error.to_string()))?;
    Ok(Presence { incarnation, boot, process: u64::from_le_bytes(process) })
}

fn encode(boots: u64) -> String {
    format!(
        "# Written by kvd at each start. Do not edit, copy or remove.\nformat = {FORMAT}\nboots = {boots}\n"
    )
}

/// The number; the error says what is wrong with it.
fn decode(text: &str) -> Result<u64, String> {
    let text: Text = toml::from_str(text).map_err(|error| error.message().to_owned())?;
    if text.format != FORMAT {
        return Err(format!("its format is {}, this kvd knows {FORMAT}", text.format));
    }
    // One is counted each time, so a number near the bound was not written here.
    if (1..limits::NUMBER).contains(&text.boots) {
        Ok(text.boots)
    } else {
        Err("it counts what cannot be".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_start_is_counted_and_is_a_life_of_its_own() {
        let dir = tempfile::tempdir().unwrap();
        let lives: Vec<_> = (0..3).map(|_| present(dir.path(), [7; 16]).unwrap()).collect();
        assert_eq!(lives.iter().map(|life| life.boot).collect::<Vec<_>>(), [1, 2, 3]);
        assert!(lives.iter().all(|life| life.incarnation == [7; 16]));
        assert_ne!(lives[0].process, lives[1].process);
        let text = std::fs::read_to_string(dir.path().join(FILE)).unwrap();
        let words = "# Written by kvd at each start. Do not edit, copy or remove.\nformat = 1\nboots = 3\n";
        assert_eq!(text, words);
    }

    #[test]
    fn a_count_that_cannot_be_ends_the_start() {
        let most = limits::NUMBER;
        assert_eq!(decode(&encode(most - 1)), Ok(most - 1));
        for text in ["", "format = 2\nboots = 1", "format = 1\nboots = 0", "format = 1\nboots = -1"] {
            assert!(decode(text).is_err(), "{text}");
        }
        assert!(decode(&encode(most)).is_err());
        assert!(decode("format = 1\nboots = 1\nmore = 1").is_err());
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(FILE), "boots").unwrap();
        assert!(present(dir.path(), [7; 16]).unwrap_err().to_string().contains("boots"));
    }
}
