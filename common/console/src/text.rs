//! Small things written and read by people: durations, sizes, bytes of unknown origin.

use std::{fmt::Write as _, time::Duration};

mod rfc3339;

pub use rfc3339::parse_timestamp;

/// Units of time in milliseconds.
const TIMES: &[(&str, u64)] = &[("ms", 1), ("s", 1000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];
/// Units of size in bytes.
const SIZES: &[(&str, u64)] = &[("", 1), ("K", 1 << 10), ("M", 1 << 20), ("G", 1 << 30)];

/// A whole number and one of these units, multiplied; none where that is more than fits. `what` names it with its article,
/// as in "an age", `units` says which there are and `example` is one.
fn quantity(
    text: &str,
    factors: &[(&str, u64)],
    (what, units, example): (&str, &str, &str),
) -> Result<Option<u64>, String> {
    let split = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (digits, unit) = text.split_at(split);
    let factor = factors.iter().find_map(|(name, factor)| (*name == unit).then_some(*factor));
    let factor = factor.ok_or_else(|| format!("{what} is {units}"))?;
    let number: u64 =
        digits.parse().map_err(|_| format!("{what} begins with a whole number, such as {example}"))?;
    Ok(number.checked_mul(factor))
}

/// Reads `500ms`, `5s`, `2m` or `1h`; zero is refused, for nothing can be done in no time.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let says = ("a duration", "a number and a unit, such as 500ms, 5s, 2m or 1h", "5s");
    let units = TIMES.split_last().map_or(TIMES, |(_days, shorter)| shorter);
    match quantity(text, units, says)? {
        None | Some(86_400_001..) => Err("longer than a day".to_owned()),
        Some(0) => Err("a duration is longer than nothing".to_owned()),
        Some(millis) => Ok(Duration::from_millis(millis)),
    }
}

/// Reads an age: `0s`, `90s`, `10m`, `24h`, `7d`, up to 366 days.
pub fn parse_age(text: &str) -> Result<Duration, String> {
    let says = ("an age", "a number and a unit, such as 90s, 10m, 24h or 7d", "10m");
    let millis = quantity(text, TIMES, says)?.filter(|millis| *millis <= protocol::limits::WINDOW_AGE_MS);
    millis.map(Duration::from_millis).ok_or_else(|| "longer than 366 days".to_owned())
}

/// Reads a size: `4096`, `64K`, `64M`, `1G`.
pub fn parse_size(text: &str) -> Result<u64, String> {
    let says = ("a size", "a number of bytes, or one with K, M or G", "64M");
    quantity(text, SIZES, says)?.ok_or_else(|| "more than there is".to_owned())
}

/// Milliseconds since 1970 as RFC 3339 in UTC: `2023-11-14T22:13:20.123Z`.
#[expect(
    clippy::arithmetic_side_effects,
    reason = "a day of any u64 of milliseconds is far from the bounds of u64"
)]
pub fn timestamp(wall_ms: u64) -> String {
    let (seconds, millis) = (wall_ms / 1000, wall_ms % 1000);
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    // Howard Hinnant's days to civil, which counts years from the first of March of the year 0.
    let shifted = days.saturating_add(719_468);
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let leaps = day_of_era / 1460 + day_of_era / 146_096;
    let year_of_era = (day_of_era + day_of_era / 36_524 - leaps) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era.saturating_mul(400) + u64::from(month <= 2);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millis:03}Z")
}

/// Bytes as `812`, `1.2K`, `3.4M`, `1.2G`.
pub fn size(bytes: u64) -> String {
    if bytes < 1024 {
        return bytes.to_string();
    }
    let (mut tenths, mut unit) = (bytes.saturating_mul(10) / 1024, "K");
    for larger in ["M", "G", "T", "P"] {
        if tenths < 10_240 {
            break;
        }
        (tenths, unit) = (tenths / 1024, larger);
    }
    format!("{}.{}{unit}", tenths / 10, tenths % 10)
}

/// A span in its largest whole unit: `12d`, `3h`, `5m`, `9s`.
pub fn age(span: Duration) -> String {
    let seconds = span.as_secs();
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m", seconds / 60),
        3600..86_400 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
}

/// A span as [`parse_duration`] reads it, in the largest unit that is exact.
pub fn span(span: Duration) -> String {
    match span.as_millis() {
        millis if millis % 3_600_000 == 0 => format!("{}h", millis / 3_600_000),
        millis if millis % 60_000 == 0 => format!("{}m", millis / 60_000),
        millis if millis % 1000 == 0 => format!("{}s", millis / 1000),
        millis => format!("{millis}ms"),
    }
}

/// An age as [`parse_age`] reads it, in the largest unit that is exact.
pub fn exact_age(age: Duration) -> String {
    match age.as_millis() {
        millis if millis > 0 && millis % 86_400_000 == 0 => format!("{}d", millis / 86_400_000),
        _ => span(age),
    }
}

/// Milliseconds with one digit: `0.4ms`.
pub fn millis(span: Duration) -> String {
    format!("{:.1}ms", span.as_secs_f64() * 1000.0)
}

/// A key for a message: as it is when it is text, control characters escaped.
pub fn key(bytes: &[u8]) -> String {
    printable(&String::from_utf8_lossy(bytes))
}

/// Control characters escaped, so that what came from elsewhere cannot play with a terminal.
pub fn printable(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        if character.is_control() { out.extend(character.escape_default()) } else { out.push(character) }
    }
    out
}

/// Two hexadecimal digits a byte.
pub fn hex(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len().saturating_mul(2));
    for byte in bytes {
        // Writing to a string does not fail.
        let _ = write!(out, "{byte:02x}");
    }
    out
}

/// Standard base64 with padding.
pub fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::with_capacity(bytes.len().div_ceil(3).saturating_mul(4));
    for chunk in bytes.chunks(3) {
        let byte = |at: usize| u32::from(chunk.get(at).copied().unwrap_or(0));
        let group = byte(0) << 16 | byte(1) << 8 | byte(2);
        for (at, six) in [group >> 18, group >> 12, group >> 6, group].into_iter().enumerate() {
            let digit = DIGITS.get((six & 63) as usize).filter(|_| at <= chunk.len());
            out.push(digit.map_or('=', |&digit| char::from(digit)));
        }
    }
    out
}

/// The bytes of standard base64 with padding; `None` where it is not that.
pub fn unbase64(text: &str) -> Option<Vec<u8>> {
    let digits = text.as_bytes();
    let mut out = Vec::with_capacity(digits.len());
    let mut groups = digits.chunks(4).peekable();
    while let Some(group) = groups.next() {
        let padding = group.iter().rev().take_while(|digit| **digit == b'=').count();
        if group.len() != 4 || padding > 2 || (padding > 0 && groups.peek().is_some()) {
            return None;
        }
        let mut bits = 0_u32;
        for digit in group.iter().take(4_usize.saturating_sub(padding)) {
            bits = bits << 6 | six(*digit)?;
        }
        bits <<= 6_usize.saturating_mul(padding);
        let kept = 3_usize.saturating_sub(padding);
        let bytes = bits.to_be_bytes();
        let (group, rest) = bytes.get(1..)?.split_at_checked(kept)?;
        if rest.iter().any(|byte| *byte != 0) {
            return None;
        }
        out.extend_from_slice(group);
    }
    Some(out)
}

/// The six bits of a digit.
fn six(digit: u8) -> Option<u32> {
    let (base, first) = match digit {
        b'A'..=b'Z' => (0_u8, b'A'),
        b'a'..=b'z' => (26, b'a'),
        b'0'..=b'9' => (52, b'0'),
        b'+' => (62, b'+'),
        b'/' => (63, b'/'),
        _ => return None,
    };
    Some(base.saturating_add(digit.saturating_sub(first)).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_units() {
        for (text, millis) in
            [("500ms", 500), ("5s", 5000), ("2m", 120_000), ("1h", 3_600_000), ("24h", 86_400_000)]
        {
            assert_eq!(parse_duration(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        for text in [
            "",
            "5",
            "s",
            "-1s",
            "5 s",
            "1.5s",
            "0s",
            "25h",
            "99999999999999999999s",
            "18446744073709551615h",
        ] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_span_is_read_as_it_was_written() {
        for text in ["1ms", "1500ms", "1s", "90s", "2m", "24h"] {
            assert_eq!(span(parse_duration(text).unwrap()), text);
        }
    }

    #[test]
    fn sizes_and_ages_are_short() {
        let sizes = [0, 1023, 1024, 1536, 1_048_576, 1_288_490_188, u64::MAX].map(size);
        assert_eq!(sizes, ["0", "1023", "1.0K", "1.5K", "1.0M", "1.1G", "1638.3P"]);
        let ages = [9, 60, 3600 * 5, 86_400 * 12].map(|s| age(Duration::from_secs(s)));
        assert_eq!(ages, ["9s", "1m", "5h", "12d"]);
        assert_eq!(millis(Duration::from_micros(440)), "0.4ms");
    }

    #[test]
    fn base64_pads() {
        let encoded = ["", "f", "fo", "foo", "foob"].map(|text| base64(text.as_bytes()));
        assert_eq!(encoded, ["", "Zg==", "Zm8=", "Zm9v", "Zm9vYg=="]);
    }

    #[test]
    fn base64_comes_back_and_nothing_else_is_taken() {
        let all: Vec<u8> = (0..=255).collect();
        for length in 0..all.len() {
            let bytes = &all[all.len() - length..];
            assert_eq!(unbase64(&base64(bytes)).as_deref(), Some(bytes));
        }
        for text in ["Zg", "Zg=", "Z===", "====", "Zg==Zg==", "Zh==", "Zm9=", "Zm 9", "Zm9v!", "Z=g="] {
            assert_eq!(unbase64(text), None, "{text}");
        }
    }

    #[test]
    fn control_characters_do_not_reach_a_terminal() {
        assert_eq!(printable("a\x1b[31mb\tc"), "a\\u{1b}[31mb\\tc");
        assert_eq!(key(b"\xff"), "\u{fffd}");
    }

    #[test]
    fn ages_and_sizes_are_read_up_to_their_limits() {
        assert_eq!(parse_age("10m"), Ok(Duration::from_mins(10)));
        assert_eq!(parse_age("0s"), Ok(Duration::ZERO));
        assert_eq!(parse_age("366d").map(|age| age.as_secs()), Ok(366 * 86_400));
        for wrong in ["367d", "10", "m", "-1m", "1w", "99999999999999999999s", "99999999999999999h"] {
            assert!(parse_age(wrong).is_err(), "{wrong}");
        }
        assert_eq!(
            (parse_size("0"), parse_size("64M"), parse_size("1G")),
            (Ok(0), Ok(64 << 20), Ok(1 << 30))
        );
        for wrong in ["", "M", "1T", "-1", "99999999999999999G"] {
            assert!(parse_size(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_moment_is_told_in_utc() {
        for (wall_ms, want) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_399_999, "2000-02-28T23:59:59.999Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (951_868_800_000, "2000-03-01T00:00:00.000Z"),
            (1_700_000_000_123, "2023-11-14T22:13:20.123Z"),
            (4_107_542_399_000, "2100-02-28T23:59:59.000Z"),
            (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
        ] {
            assert_eq!(timestamp(wall_ms), want);
        }
    }
}
