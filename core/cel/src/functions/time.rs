//! Timestamps and durations.

use jiff::tz::{Offset, TimeZone};
use jiff::{SignedDuration, Timestamp, Zoned};

use super::{Entry, fail, no_overload};
use crate::eval::{EvalError, Evaluated};
use crate::value::Value;

const SECOND: i64 = 1_000_000_000;

pub(crate) const TABLE: &[Entry] = &[
    ("timestamp", |args, _| match args {
        [Value::Timestamp(_)] => Ok(args[0].clone()),
        [Value::Int(seconds)] => match Timestamp::from_second(*seconds) {
            Ok(then) => Ok(Value::Timestamp(then)),
            Err(_) => fail("timestamp overflow"),
        },
        [Value::String(text)] => match parse_timestamp(text) {
            Some(then) => Ok(Value::Timestamp(then)),
            None => fail(format!("cannot parse timestamp: {text:?}")),
        },
        _ => no_overload(),
    }),
    ("duration", |args, _| match args {
        [Value::Duration(_)] => Ok(args[0].clone()),
        [Value::Int(nanos)] => Ok(Value::Duration(*nanos)),
        [Value::String(text)] => match parse_duration(text) {
            Some(nanos) => Ok(Value::Duration(nanos)),
            None => fail(format!("time: invalid duration {text:?}")),
        },
        _ => no_overload(),
    }),
    ("getFullYear", |args, _| part(args, |at| at.year().into())),
    ("getMonth", |args, _| part(args, |at| i64::from(at.month()) - 1)),
    ("getDate", |args, _| part(args, |at| at.day().into())),
    ("getDayOfMonth", |args, _| part(args, |at| i64::from(at.day()) - 1)),
    ("getDayOfWeek", |args, _| part(args, |at| at.weekday().to_sunday_zero_offset().into())),
    ("getDayOfYear", |args, _| part(args, |at| i64::from(at.day_of_year()) - 1)),
    ("getHours", |args, _| match args {
        [Value::Duration(nanos)] => Ok(Value::Int(nanos / (3600 * SECOND))),
        _ => part(args, |at| at.hour().into()),
    }),
    ("getMinutes", |args, _| match args {
        [Value::Duration(nanos)] => Ok(Value::Int(nanos / (60 * SECOND))),
        _ => part(args, |at| at.minute().into()),
    }),
    ("getSeconds", |args, _| match args {
        [Value::Duration(nanos)] => Ok(Value::Int(nanos / SECOND)),
        _ => part(args, |at| at.second().into()),
    }),
    ("getMilliseconds", |args, _| match args {
        [Value::Duration(nanos)] => Ok(Value::Int(nanos / 1_000_000)),
        _ => part(args, |at| at.millisecond().into()),
    }),
];

fn part(args: &[Value], read: impl Fn(&Zoned) -> i64) -> Evaluated {
    let (then, zone) = match args {
        [Value::Timestamp(then)] => (then, TimeZone::UTC),
        [Value::Timestamp(then), Value::String(name)] => (then, time_zone(name)?),
        _ => return no_overload(),
    };
    Ok(Value::Int(read(&then.to_zoned(zone))))
}

/// A zone by its name, or as `+hh:mm`.
fn time_zone(name: &str) -> Result<TimeZone, EvalError> {
    let unknown = || EvalError::new(format!("unknown time zone {name}"));
    let Some((hours, minutes)) = name.split_once(':') else {
        return TimeZone::get(name).map_err(|_| unknown());
    };
    let hours_abs: i32 = hours.trim_start_matches(['+', '-']).parse().map_err(|_| unknown())?;
    let minutes: i32 = minutes.parse().map_err(|_| unknown())?;
    let seconds = (hours_abs * 60 + minutes) * 60;
    let signed = if hours.starts_with('-') { -seconds } else { seconds };
    Ok(Offset::from_seconds(signed).map_err(|_| unknown())?.to_time_zone())
}

pub(crate) fn parse_timestamp(text: &str) -> Option<Timestamp> {
    hansa_api::time::parse(text)
}

/// Go's notation: `1h30m`, `-1.5s`, `100ms`.
pub(crate) fn parse_duration(text: &str) -> Option<i64> {
    let (negative, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Some(0);
    }
    if rest.is_empty() {
        return None;
    }
    let mut total = 0i128;
    while !rest.is_empty() {
        let digits = rest.find(|letter: char| !letter.is_ascii_digit() && letter != '.')?;
        let (number, more) = rest.split_at(digits);
        let end = more.find(|letter: char| letter.is_ascii_digit() || letter == '.');
        let (unit, more) = more.split_at(end.unwrap_or(more.len()));
        total += amount(number, unit_nanos(unit)?)?;
        rest = more;
    }
    i64::try_from(if negative { -total } else { total }).ok()
}

fn unit_nanos(unit: &str) -> Option<i128> {
    Some(match unit {
        "ns" => 1,
        "us" | "µs" | "μs" => 1_000,
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        "m" => 60_000_000_000,
        "h" => 3_600_000_000_000,
        _ => return None,
    })
}

fn amount(number: &str, unit: i128) -> Option<i128> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() && fraction.is_empty() || whole.len() > 19 {
        return None;
    }
    let whole: i128 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    let digits: &str = fraction.get(..fraction.len().min(15))?;
    let part: i128 = if digits.is_empty() { 0 } else { digits.parse().ok()? };
    let scale = 10i128.pow(u32::try_from(digits.len()).ok()?);
    Some(whole * unit + part * unit / scale)
}

/// Seconds, as CEL prints durations: `90s`, `1.5s`.
pub(crate) fn duration_text(nanos: i64) -> String {
    let (seconds, rest) = (nanos / SECOND, (nanos % SECOND).abs());
    let sign = if nanos < 0 && seconds == 0 { "-" } else { "" };
    if rest == 0 {
        return format!("{seconds}s");
    }
    let fraction = format!("{rest:09}");
    format!("{sign}{seconds}.{}s", fraction.trim_end_matches('0'))
}

pub(crate) fn timestamp_text(then: Timestamp) -> String {
    then.to_string()
}

pub(super) fn add(args: &[Value]) -> Evaluated {
    match args {
        [Value::Duration(a), Value::Duration(b)] => match a.checked_add(*b) {
            Some(sum) => Ok(Value::Duration(sum)),
            None => fail("duration overflow"),
        },
        [Value::Timestamp(then), Value::Duration(nanos)]
        | [Value::Duration(nanos), Value::Timestamp(then)] => moved(*then, *nanos),
        _ => no_overload(),
    }
}

pub(super) fn subtract(args: &[Value]) -> Evaluated {
    match args {
        [Value::Duration(a), Value::Duration(b)] => match a.checked_sub(*b) {
            Some(rest) => Ok(Value::Duration(rest)),
            None => fail("duration overflow"),
        },
        [Value::Timestamp(then), Value::Duration(nanos)] => moved(*then, nanos.saturating_neg()),
        [Value::Timestamp(a), Value::Timestamp(b)] => {
            match i64::try_from(a.as_nanosecond() - b.as_nanosecond()) {
                Ok(nanos) => Ok(Value::Duration(nanos)),
                Err(_) => fail("duration overflow"),
            }
        }
        _ => no_overload(),
    }
}

fn moved(then: Timestamp, nanos: i64) -> Evaluated {
    match then.checked_add(SignedDuration::from_nanos(nanos)) {
        Ok(moved) => Ok(Value::Timestamp(moved)),
        Err(_) => fail("timestamp overflow"),
    }
}
