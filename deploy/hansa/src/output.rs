//! `-o table|json|yaml`.

use serde::Serialize;

/// How a command prints.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Output {
    /// For people.
    #[default]
    Table,
    /// For programs.
    Json,
    /// For both.
    Yaml,
}

impl Output {
    /// Prints `value`, or calls `table` where a table is wanted.
    ///
    /// # Errors
    /// If the value cannot be encoded.
    pub fn print<T: Serialize>(self, value: &T, table: impl FnOnce()) -> anyhow::Result<()> {
        match self {
            Self::Table => table(),
            Self::Json => println!("{}", serde_json::to_string_pretty(value)?),
            Self::Yaml => print!("{}", serde_saphyr::to_string(value)?),
        }
        Ok(())
    }
}

/// Prints rows under a header, in columns, as kubectl does.
pub fn print_table(header: &[&str], rows: Vec<Vec<String>>) {
    let mut table = comfy_table::Table::new();
    table.load_style(comfy_table::presets::NOTHING).set_header(header.to_vec());
    table.add_rows(rows);
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    for line in table.to_string().lines() {
        println!("{}", line.trim_end());
    }
}
