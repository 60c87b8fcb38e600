//! What is printed: tables as kubectl's, documents, names.

use std::io::Write;

use anyhow::Result;
use clap::ValueEnum;
use jiff::Timestamp;
use serde_json::Value;

/// Prints a line; a reader that has gone away, such as `head`, ends the program quietly.
macro_rules! say {
    ($($arg:tt)*) => { $crate::output::write(format_args!("{}\n", format_args!($($arg)*))) };
}
/// As [`say`], without the end of line.
macro_rules! put {
    ($($arg:tt)*) => { $crate::output::write(format_args!($($arg)*)) };
}
pub(crate) use {put, say};

/// Writes to standard output.
pub fn write(text: std::fmt::Arguments<'_>) {
    if let Err(error) = std::io::stdout().lock().write_fmt(text) {
        std::process::exit(i32::from(error.kind() != std::io::ErrorKind::BrokenPipe));
    }
}

/// How to print.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// A table.
    #[default]
    Table,
    /// A table with more columns.
    Wide,
    /// JSON.
    Json,
    /// YAML.
    Yaml,
    /// Names only.
    Name,
}

/// Rows under headers; the columns from `wide_from` on are printed only when asked for.
pub struct Table {
    headers: Vec<&'static str>,
    wide_from: usize,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// An empty table.
    pub fn new(headers: &[&'static str], wide_headers: &[&'static str]) -> Self {
        Self {
            headers: [headers, wide_headers].concat(),
            wide_from: headers.len(),
            rows: Vec::new(),
        }
    }

    /// Adds a row with a cell for every column.
    pub fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        let one_line = |cell: String| cell.split_whitespace().collect::<Vec<_>>().join(" ");
        self.rows.push(cells.into_iter().map(one_line).collect());
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The table as text: columns as wide as they need, three spaces apart.
    pub fn render(&self, wide: bool) -> String {
        let columns = if wide { self.headers.len() } else { self.wide_from };
        let width = |at: usize| {
            let cells = self.rows.iter().map(|row| row.get(at).map_or(0, |c| c.chars().count()));
            cells.chain([self.headers[at].len()]).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        let headers: Vec<String> = self.headers.iter().map(|h| (*h).to_owned()).collect();
        let mut text = String::new();
        for row in [&headers].into_iter().chain(&self.rows) {
            let line: Vec<String> =
                row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}")).collect();
            text.push_str(line.join("   ").trim_end());
            text.push('\n');
        }
        text
    }
}

/// Prints a list: a table, its documents, or `kind/name` lines.
pub fn list(format: Format, kind: &str, table: &Table, documents: &[Value]) -> Result<()> {
    match format {
        Format::Table | Format::Wide if table.is_empty() => eprintln!("No {kind}s found."),
        Format::Table => put!("{}", table.render(false)),
        Format::Wide => put!("{}", table.render(true)),
        Format::Json | Format::Yaml => {
            let list = serde_json::json!({"apiVersion": "v1", "kind": "List", "items": documents});
            document(format, &list)?;
        }
        Format::Name => {
            for name in documents.iter().filter_map(|d| d.pointer("/metadata/name")?.as_str()) {
                say!("{kind}/{name}");
            }
        }
    }
    Ok(())
}

/// Prints one document as YAML, or as JSON if asked for.
pub fn document(format: Format, document: &Value) -> Result<()> {
    match format {
        Format::Json => say!("{}", serde_json::to_string_pretty(document)?),
        _ => put!("{}", serde_saphyr::to_string(document)?),
    }
    Ok(())
}

/// An age as kubectl writes it: two units at most.
pub fn age(since: Option<Timestamp>, now: Timestamp) -> String {
    let Some(since) = since else { return "<unknown>".into() };
    let seconds = now.duration_since(since).as_secs().max(0);
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match seconds {
        0..120 => format!("{seconds}s"),
        120..600 if seconds % 60 > 0 => format!("{minutes}m{}s", seconds % 60),
        120..10_800 => format!("{minutes}m"),
        10_800..28_800 if minutes % 60 > 0 => format!("{hours}h{}m", minutes % 60),
        10_800..172_800 => format!("{hours}h"),
        172_800..691_200 if hours % 24 > 0 => format!("{days}d{}h", hours % 24),
        _ => format!("{days}d"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_kubectls() {
        let at = |second: i64| Timestamp::from_second(second).unwrap();
        let cases = [
            (5, "5s"),
            (119, "119s"),
            (120, "2m"),
            (150, "2m30s"),
            (660, "11m"),
            (10_799, "179m"),
            (10_860, "3h1m"),
            (90_000, "25h"),
            (180_000, "2d2h"),
            (864_000, "10d"),
        ];
        for (seconds, expected) in cases {
            assert_eq!(age(Some(at(0)), at(seconds)), expected);
        }
        assert_eq!(age(None, at(0)), "<unknown>");
    }

    #[test]
    fn a_table_hides_what_only_wide_shows() {
        let mut table = Table::new(&["NAME", "READY"], &["ZONE"]);
        table.row(["eu-west", "True", "a"].map(str::to_owned));
        assert_eq!(table.render(false), "NAME      READY\neu-west   True\n");
        assert_eq!(table.render(true), "NAME      READY   ZONE\neu-west   True    a\n");
    }
}
