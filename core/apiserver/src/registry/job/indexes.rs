//! Lists of indexes: `1,3-5,7`.

/// How many indexes a list has; they must rise and be below the number of completions.
pub(super) fn count(text: &str, completions: i64) -> Result<i64, String> {
    let (mut last, mut total) = (None, 0);
    for interval in intervals(text) {
        let (from, to) = parse(interval, completions)?;
        if let Some(last) = last.filter(|last| *last >= from) {
            return Err(format!("non-increasing order, previous: {last}, current: {from}"));
        }
        total += to - from + 1;
        last = Some(to);
    }
    Ok(total)
}

/// The first index that two lists share; what is no interval counts as none.
pub(super) fn overlap(one: &str, other: &str, completions: i64) -> Option<i64> {
    let read = |text| intervals(text).filter_map(|text| parse(text, completions).ok());
    let mut others = read(other).peekable();
    for (from, to) in read(one) {
        while others.next_if(|(_, end)| *end < from).is_some() {}
        if let Some((start, _)) = others.peek().filter(|(start, _)| *start <= to) {
            return Some(from.max(*start));
        }
    }
    None
}

fn intervals(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').filter(move |_| !text.is_empty())
}

fn parse(text: &str, completions: i64) -> Result<(i64, i64), String> {
    let limits: Vec<_> = text.split('-').collect();
    if limits.len() > 2 {
        return Err(format!(
            "the fragment {text:?} violates the requirement that an index interval can have at \
             most two parts separated by '-'"
        ));
    }
    let number = |part: &str| {
        part.parse::<i32>()
            .map(i64::from)
            .map_err(|_| format!("cannot convert string to integer for index: {part:?}"))
    };
    let below = |index: i64| match index < completions {
        true => Ok(index),
        false => Err(format!("too large index: {:?}", index.to_string())),
    };
    let from = below(number(limits[0])?)?;
    let Some(to) = limits.get(1) else { return Ok((from, from)) };
    let to = below(number(to)?)?;
    if from >= to {
        return Err(format!("non-increasing order, previous: {from}, current: {to}"));
    }
    Ok((from, to))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_rise_and_are_counted() {
        assert_eq!(count("", 5), Ok(0));
        assert_eq!(count("0,2-4", 5), Ok(4));
        assert_eq!(count("5", 5), Err("too large index: \"5\"".into()));
        assert_eq!(count("2,1", 5), Err("non-increasing order, previous: 2, current: 1".into()));
        assert_eq!(count("3-3", 5), Err("non-increasing order, previous: 3, current: 3".into()));
        assert!(count("1-2-3", 5).is_err() && count("x", 5).is_err());
    }

    #[test]
    fn shared_indexes_are_found() {
        assert_eq!(overlap("0-2,4", "3", 5), None);
        assert_eq!(overlap("0,3-4", "1,4", 5), Some(4));
        assert_eq!(overlap("", "1", 5), None);
    }
}
