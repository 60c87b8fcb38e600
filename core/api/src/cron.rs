//! Cron's notation for schedules: whether a text is in it, in the words of the parser that upstream
//! uses.

/// A place of a schedule: its least and greatest number, and the names that stand for some.
struct Place {
    min: u32,
    max: u32,
    names: &'static [&'static str],
}

const MONTHS: &[&str] =
    &["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
const DAYS: &[&str] = &["sun", "mon", "tue", "wed", "thu", "fri", "sat"];
/// Minute, hour, day of the month, month, day of the week.
const PLACES: [Place; 5] = [
    Place { min: 0, max: 59, names: &[] },
    Place { min: 0, max: 23, names: &[] },
    Place { min: 1, max: 31, names: &[] },
    Place { min: 1, max: 12, names: MONTHS },
    Place { min: 0, max: 6, names: DAYS },
];
const DESCRIPTORS: [&str; 7] =
    ["@yearly", "@annually", "@monthly", "@weekly", "@daily", "@midnight", "@hourly"];
const EVERY: &str = "@every ";

/// Checks a schedule; it may begin with `TZ=` or `CRON_TZ=` and a zone.
///
/// # Errors
/// What is wrong with it.
pub fn check(text: &str) -> Result<(), String> {
    if text.is_empty() {
        return Err("empty spec string".into());
    }
    let mut rest = text;
    if let Some(zone) = text.strip_prefix("TZ=").or_else(|| text.strip_prefix("CRON_TZ=")) {
        let (zone, after) =
            zone.split_once(' ').ok_or_else(|| format!("provided bad location {zone}"))?;
        if jiff::tz::TimeZone::get(zone).is_err() {
            return Err(format!("provided bad location {zone}: unknown time zone {zone}"));
        }
        rest = after.trim();
    }
    if rest.starts_with('@') {
        return descriptor(rest);
    }
    let fields: Vec<_> = rest.split_whitespace().collect();
    if fields.len() != PLACES.len() {
        let (count, list) = (fields.len(), fields.join(" "));
        return Err(format!("expected exactly 5 fields, found {count}: [{list}]"));
    }
    fields.iter().zip(&PLACES).try_for_each(|(field, place)| {
        field.split(',').filter(|part| !part.is_empty()).try_for_each(|part| range(part, place))
    })
}

fn descriptor(text: &str) -> Result<(), String> {
    if DESCRIPTORS.contains(&text) {
        return Ok(());
    }
    match text.strip_prefix(EVERY) {
        Some(duration) if is_duration(duration) => Ok(()),
        Some(duration) => {
            Err(format!("failed to parse duration {text}: time: invalid duration {duration:?}"))
        }
        None => Err(format!("unrecognized descriptor: {text}")),
    }
}

/// `1h30m`, in any units.
fn is_duration(text: &str) -> bool {
    let mut rest = text.strip_prefix(['-', '+']).unwrap_or(text);
    let mut parts = 0;
    while !rest.is_empty() {
        let number = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let (digits, after) = rest.split_at(number);
        let units = ["ns", "us", "µs", "ms", "s", "m", "h"];
        let unit = units.iter().filter(|unit| after.starts_with(**unit)).max_by_key(|u| u.len());
        let Some(unit) = unit.filter(|_| digits.parse::<f64>().is_ok()) else { return false };
        rest = &after[unit.len()..];
        parts += 1;
    }
    parts > 0 || text == "0"
}

/// `1`, `1-5`, `*/2`, `mon-fri`.
fn range(text: &str, place: &Place) -> Result<(), String> {
    let mut halves = text.split('/');
    let (low_high, step) = (halves.next().unwrap_or_default(), halves.next());
    let bounds: Vec<_> = low_high.split('-').collect();
    let (start, mut end) = match bounds[..] {
        ["*" | "?", ..] => (place.min, place.max),
        [only] => {
            let only = number(only, place)?;
            (only, only)
        }
        [low, high] => (number(low, place)?, number(high, place)?),
        _ => return Err(format!("too many hyphens: {text}")),
    };
    let mut every = 1;
    if let Some(step) = step {
        every = integer(step)?;
        end = if bounds.len() == 1 { place.max } else { end };
    }
    if halves.next().is_some() {
        return Err(format!("too many slashes: {text}"));
    }
    let (min, max) = (place.min, place.max);
    if start < min {
        Err(format!("beginning of range ({start}) below minimum ({min}): {text}"))
    } else if end > max {
        Err(format!("end of range ({end}) above maximum ({max}): {text}"))
    } else if start > end {
        Err(format!("beginning of range ({start}) beyond end of range ({end}): {text}"))
    } else if every == 0 {
        Err(format!("step of range should be a positive number: {text}"))
    } else {
        Ok(())
    }
}

fn number(text: &str, place: &Place) -> Result<u32, String> {
    let lower = text.to_lowercase();
    match (place.min..).zip(place.names).find(|(_, name)| **name == lower) {
        Some((number, _)) => Ok(number),
        None => integer(text),
    }
}

fn integer(text: &str) -> Result<u32, String> {
    if text.starts_with('-') && text.parse::<i64>().is_ok() {
        return Err(format!("negative number ({text}) not allowed: {text}"));
    }
    text.parse().map_err(|_| {
        format!("failed to parse int from {text}: strconv.Atoi: parsing {text:?}: invalid syntax")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schedules_are_read() {
        for good in
            ["* * * * *", "*/5 0-4,8 1 jan-MAR mon", "@hourly", "@every 1h30m", "0 0 ? * 1-5/2"]
        {
            assert_eq!(check(good), Ok(()), "{good}");
        }
    }

    #[test]
    fn mistakes_are_told_in_the_parsers_words() {
        let cases = [
            ("x", "expected exactly 5 fields, found 1: [x]"),
            ("60 * * * *", "end of range (60) above maximum (59): 60"),
            ("* * 0 * *", "beginning of range (0) below minimum (1): 0"),
            ("5-1 * * * *", "beginning of range (5) beyond end of range (1): 5-1"),
            ("*/0 * * * *", "step of range should be a positive number: */0"),
            ("1-2-3 * * * *", "too many hyphens: 1-2-3"),
            ("1/2/3 * * * *", "too many slashes: 1/2/3"),
            (
                "a * * * *",
                "failed to parse int from a: strconv.Atoi: parsing \"a\": invalid syntax",
            ),
            ("@often", "unrecognized descriptor: @often"),
            ("@every x", "failed to parse duration @every x: time: invalid duration \"x\""),
            ("", "empty spec string"),
        ];
        for (text, why) in cases {
            assert_eq!(check(text), Err(why.to_owned()), "{text}");
        }
    }
}
