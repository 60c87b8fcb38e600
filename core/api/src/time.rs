//! Instants as the API writes them, and durations as people read them.

use jiff::Timestamp;
use jiff::fmt::strtime;
use jiff::tz::Offset;

/// Now, whole seconds, such as `2026-01-02T03:04:05Z` (the API's `Time`).
pub fn now() -> String {
    format_time(Timestamp::now())
}

/// Now, with microseconds (the API's `MicroTime`).
pub fn now_micro() -> String {
    format_micro(Timestamp::now())
}

/// As the API's `Time`: UTC, whole seconds.
pub fn format_time(instant: Timestamp) -> String {
    print("%Y-%m-%dT%H:%M:%SZ", instant)
}

/// As the API's `MicroTime`: UTC, six digits.
pub fn format_micro(instant: Timestamp) -> String {
    print("%Y-%m-%dT%H:%M:%S.%6fZ", instant)
}

fn print(pattern: &str, instant: Timestamp) -> String {
    let civil = Offset::UTC.to_datetime(instant);
    strtime::format(pattern, civil).expect("the patterns name only civil fields")
}

/// Reads RFC 3339 with any offset.
pub fn parse(text: &str) -> Option<Timestamp> {
    text.parse().ok()
}

/// Seconds from `then` (RFC 3339) to `now`; negative if `then` lies ahead.
pub fn seconds_since(then: &str, now: Timestamp) -> Option<i64> {
    let then = parse(then)?;
    Some(now.as_millisecond().div_euclid(1000) - then.as_second())
}

/// An age as `kubectl get` shows it: `45s`, `3m12s`, `5h`, `2d3h`, `400d`, `3y20d`.
pub fn human_duration(seconds: i64) -> String {
    let (minutes, hours) = (seconds / 60, seconds / 3600);
    match seconds {
        ..-1 => return "<invalid>".into(),
        -1 => return "0s".into(),
        0..120 => return format!("{seconds}s"),
        _ => {}
    }
    if minutes < 10 {
        two_units(minutes, "m", seconds % 60, "s")
    } else if minutes < 180 {
        format!("{minutes}m")
    } else if hours < 8 {
        two_units(hours, "h", minutes % 60, "m")
    } else if hours < 48 {
        format!("{hours}h")
    } else if hours < 24 * 8 {
        two_units(hours / 24, "d", hours % 24, "h")
    } else if hours < 24 * 365 * 2 {
        format!("{}d", hours / 24)
    } else if hours < 24 * 365 * 8 {
        two_units(hours / 24 / 365, "y", hours / 24 % 365, "d")
    } else {
        format!("{}y", hours / 24 / 365)
    }
}

fn two_units(large: i64, large_unit: &str, small: i64, small_unit: &str) -> String {
    match small {
        0 => format!("{large}{large_unit}"),
        _ => format!("{large}{large_unit}{small}{small_unit}"),
    }
}

/// The age of something created at `then`, `<unknown>` if that is no time.
pub fn age(then: Option<&str>) -> String {
    then.and_then(|then| seconds_since(then, Timestamp::now()))
        .map_or_else(|| "<unknown>".into(), human_duration)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_in_utc() {
        let instant = parse("2026-01-02T03:04:05.123456789+02:00").unwrap();
        assert_eq!(format_time(instant), "2026-01-02T01:04:05Z");
        assert_eq!(format_micro(instant), "2026-01-02T01:04:05.123456Z");
        assert_eq!(parse("yesterday"), None);
    }

    #[test]
    fn ages_read_as_in_kubectl() {
        const HOUR: i64 = 3600;
        const DAY: i64 = 24 * HOUR;
        let cases = [
            (-5, "<invalid>"),
            (-1, "0s"),
            (119, "119s"),
            (120, "2m"),
            (185, "3m5s"),
            (600, "10m"),
            (179 * 60, "179m"),
            (3 * HOUR, "3h"),
            (3 * HOUR + 60, "3h1m"),
            (8 * HOUR + 60, "8h"),
            (48 * HOUR, "2d"),
            (50 * HOUR, "2d2h"),
            (8 * DAY, "8d"),
            (400 * DAY, "400d"),
            (2 * 365 * DAY + DAY, "2y1d"),
            (9 * 365 * DAY, "9y"),
        ];
        for (seconds, text) in cases {
            assert_eq!(human_duration(seconds), text, "{seconds} s");
        }
    }
}
