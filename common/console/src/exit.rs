//! Exit codes, the part of the tools that scripts read. A code says what to do next: whether to retry, and how.

use std::process::ExitCode;

/// Every code a tool can end with. The numbers are a promise; a new case gets a new number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Exit {
    /// Done.
    Success,
    /// A clean "no": the key is absent.
    No,
    /// The command line or a configuration file is wrong.
    Usage,
    /// No endpoint answered. Retry.
    Unreachable,
    /// There is no leader or no quorum; nothing was done. Retry.
    NoLeader,
    /// The time was up; nothing was done. Retry.
    Deadline,
    /// A write may or may not have taken effect. Retry with the same request id.
    Unknown,
    /// Authentication, permission or a certificate stood in the way.
    Denied,
    /// The server refused: a limit, or the state of things.
    Refused,
    /// A checksum does not match, or replicas differ.
    Integrity,
    /// Some targets failed.
    Partial,
    /// A confirmation was declined or could not be asked for.
    Declined,
    /// A local file could not be read or written.
    File,
    /// A defect of this program.
    Internal,
    /// Ctrl-C.
    Interrupted,
    /// Nobody reads what was being written.
    Pipe,
    /// SIGTERM.
    Terminated,
    /// What the caller wanted instead of [`Exit::No`].
    Chosen(u8),
}

impl Exit {
    /// All but the chosen ones, in the order of their numbers.
    pub const ALL: [Self; 17] = [
        Self::Success,
        Self::No,
        Self::Usage,
        Self::Unreachable,
        Self::NoLeader,
        Self::Deadline,
        Self::Unknown,
        Self::Denied,
        Self::Refused,
        Self::Integrity,
        Self::Partial,
        Self::Declined,
        Self::File,
        Self::Internal,
        Self::Interrupted,
        Self::Pipe,
        Self::Terminated,
    ];

    /// The number.
    pub fn code(self) -> u8 {
        match self {
            Self::Success => 0,
            Self::No => 1,
            Self::Usage => 2,
            Self::Unreachable => 3,
            Self::NoLeader => 4,
            Self::Deadline => 5,
            Self::Unknown => 6,
            Self::Denied => 7,
            Self::Refused => 8,
            Self::Integrity => 9,
            Self::Partial => 10,
            Self::Declined => 11,
            Self::File => 12,
            Self::Internal => 70,
            Self::Interrupted => 130,
            Self::Pipe => 141,
            Self::Terminated => 143,
            Self::Chosen(code) => code,
        }
    }

    /// The answer "absent" under the code that the caller gave it.
    pub fn absent(code: u8) -> Self {
        match code {
            0 => Self::Success,
            1 => Self::No,
            other => Self::Chosen(other),
        }
    }

    /// Whether the same command can succeed later without anybody changing anything.
    pub fn is_retryable(self) -> bool {
        matches!(self, Self::Unreachable | Self::NoLeader | Self::Deadline | Self::Unknown)
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_are_the_promised_ones() {
        let codes = Exit::ALL.map(Exit::code);
        assert_eq!(codes, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 70, 130, 141, 143]);
    }

    #[test]
    fn only_trouble_that_passes_is_worth_a_retry() {
        let retryable: Vec<u8> =
            Exit::ALL.into_iter().filter(|exit| exit.is_retryable()).map(Exit::code).collect();
        assert_eq!(retryable, [3, 4, 5, 6]);
    }
}
