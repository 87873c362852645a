//! Times as RFC 3339 writes them: read here in any offset, shown in UTC by [`timestamp`](super::timestamp).

/// Reads `2026-01-02T03:04:05Z`, `…05.123+01:00`; milliseconds since 1970. None for what is no such time, and for what lies
/// before 1970. Parts of a millisecond are dropped.
pub fn parse_timestamp(text: &str) -> Option<u64> {
    let (date, rest) = text.split_at_checked(10)?;
    let (year, month, day) = triple(date, '-', [4, 2, 2])?;
    let rest = rest.strip_prefix(['T', 't', ' '])?;
    let (time, rest) = rest.split_at_checked(8)?;
    let (hour, minute, second) = triple(time, ':', [2, 2, 2])?;
    let (millis, offset) = fraction(rest)?;
    let minutes = offset_minutes(offset)?;
    let leap = year.checked_rem(4)? == 0 && (year.checked_rem(100)? != 0 || year.checked_rem(400)? == 0);
    let days_of_month = match month {
        1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
        4 | 6 | 9 | 11 => 30,
        2 => 28_i64.checked_add(i64::from(leap))?,
        _ => return None,
    };
    // A leap second is the one after it, as clocks of machines have it.
    if day < 1 || day > days_of_month || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let seconds = days(year, month, day)
        .checked_mul(86_400)?
        .checked_add(hour.checked_mul(3600)?)?
        .checked_add(minute.checked_sub(minutes)?.checked_mul(60)?)?
        .checked_add(second)?;
    u64::try_from(seconds.checked_mul(1000)?.checked_add(millis)?).ok()
}

/// Days since 1970 (Howard Hinnant's days from civil, in which a year begins with March).
#[expect(
    clippy::arithmetic_side_effects,
    reason = "a date of four digits a year is far from the bounds of i64"
)]
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = year - i64::from(month <= 2);
    let (era, year_of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

/// Three numbers of so many digits each, apart by a sign.
fn triple(text: &str, between: char, widths: [usize; 3]) -> Option<(i64, i64, i64)> {
    let mut parts = text.split(between).zip(widths).map(|(part, width)| number(part, width));
    let numbers = (parts.next()??, parts.next()??, parts.next()??);
    (text.split(between).count() == 3).then_some(numbers)
}

fn number(text: &str, width: usize) -> Option<i64> {
    let digits = text.len() == width && text.bytes().all(|byte| byte.is_ascii_digit());
    if digits { text.parse().ok() } else { None }
}

/// Milliseconds of a fraction, where there is one, and what follows.
fn fraction(text: &str) -> Option<(i64, &str)> {
    let Some(rest) = text.strip_prefix('.') else { return Some((0, text)) };
    let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    let (digits, rest) = rest.split_at_checked(end)?;
    let three: String = digits.chars().chain("000".chars()).take(3).collect();
    (!digits.is_empty()).then_some((three.parse().ok()?, rest))
}

fn offset_minutes(text: &str) -> Option<i64> {
    if matches!(text, "Z" | "z") {
        return Some(0);
    }
    let sign = match text.chars().next()? {
        '+' => 1_i64,
        '-' => -1,
        _ => return None,
    };
    let (hours, minutes) = text.get(1..)?.split_once(':')?;
    let (hours, minutes) = (number(hours, 2)?, number(minutes, 2)?);
    if hours > 23 || minutes > 59 {
        return None;
    }
    hours.checked_mul(60)?.checked_add(minutes)?.checked_mul(sign)
}

#[cfg(test)]
mod tests {
    use super::{super::timestamp, *};

    #[test]
    fn a_time_of_any_offset_is_read() {
        for (text, millis) in [
            ("1970-01-01T00:00:00Z", 0),
            ("2023-11-14T22:13:20.123Z", 1_700_000_000_123),
            ("2023-11-14T22:13:20.1239Z", 1_700_000_000_123),
            ("2023-11-14T22:13:20.1z", 1_700_000_000_100),
            ("2023-11-14t23:13:20+01:00", 1_700_000_000_000),
            ("2023-11-14 16:43:20-05:30", 1_700_000_000_000),
            ("2024-02-29T00:00:00Z", 1_709_164_800_000),
            ("2016-12-31T23:59:60Z", 1_483_228_800_000),
        ] {
            assert_eq!(parse_timestamp(text), Some(millis), "{text}");
        }
    }

    #[test]
    fn what_is_shown_is_read_again() {
        for millis in (0..4_000_000_000_000).step_by(86_399_999_987) {
            assert_eq!(parse_timestamp(&timestamp(millis)), Some(millis), "{millis}");
        }
    }

    #[test]
    fn what_is_no_time_is_none() {
        for text in [
            "",
            "2023-11-14",
            "2023-11-14T22:13:20",
            "2023-11-14T22:13Z",
            "2023-02-29T00:00:00Z",
            "2023-13-01T00:00:00Z",
            "2023-00-01T00:00:00Z",
            "2023-01-00T00:00:00Z",
            "2023-04-31T00:00:00Z",
            "2023-11-14T24:00:00Z",
            "2023-11-14T22:60:00Z",
            "2023-11-14T22:13:61Z",
            "2023-11-14T22:13:20.Z",
            "2023-11-14T22:13:20+1:00",
            "2023-11-14T22:13:20+24:00",
            "+023-11-14T22:13:20Z",
            "2023-11-14T22:13:20Zz",
            "1969-12-31T23:59:59Z",
            "1970-01-01T00:00:00+00:01",
            "２０２３-11-14",
        ] {
            assert_eq!(parse_timestamp(text), None, "{text}");
        }
    }
}
