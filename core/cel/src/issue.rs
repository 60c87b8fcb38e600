//! What is wrong with an expression, shown as cel-go shows it.

/// One error in an expression, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Issue {
    /// What is wrong.
    pub message: String,
    /// The character at which it is, from 0; `None` if it is the expression as a whole.
    pub offset: Option<usize>,
}

impl Issue {
    pub(crate) fn at(offset: usize, message: impl Into<String>) -> Self {
        Self { message: message.into(), offset: Some(offset) }
    }
}

/// Why an expression does not compile; prints every issue with the line it is in.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.display())]
pub struct CompileError {
    /// The expression.
    pub expression: String,
    /// What is wrong with it, in the order of the text.
    pub issues: Vec<Issue>,
}

impl CompileError {
    pub(crate) fn new(source: &str, mut issues: Vec<Issue>) -> Self {
        issues.sort_by_key(|issue| issue.offset);
        Self { expression: source.to_string(), issues }
    }

    fn display(&self) -> String {
        let texts: Vec<_> = self.issues.iter().map(|issue| show(&self.expression, issue)).collect();
        texts.join("\n")
    }
}

fn show(source: &str, issue: &Issue) -> String {
    let Some(offset) = issue.offset else {
        return format!("ERROR: <input>:-1:0: {}", issue.message);
    };
    let (line, column, text) = locate(source, offset);
    let text = text.replace('\t', " ");
    let dot = |letter: char| if letter.len_utf8() > 1 { '\u{ff0e}' } else { '.' };
    let mut pointer: String = text.chars().take(column).map(dot).collect();
    let wide = text.chars().nth(column).is_some_and(|letter| letter.len_utf8() > 1);
    pointer.push(if wide { '\u{ff3e}' } else { '^' });
    let message = &issue.message;
    format!("ERROR: <input>:{line}:{}: {message}\n | {text}\n | {pointer}", column + 1)
}

/// The line (from 1), column (from 0) and text of the line that a character is in.
fn locate(source: &str, offset: usize) -> (usize, usize, &str) {
    let mut start = 0;
    let mut found = (1, offset, "");
    for (at, line) in source.split('\n').enumerate() {
        if offset < start {
            break;
        }
        found = (at + 1, offset - start, line);
        start += line.chars().count() + 1;
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_point_at_their_place() {
        let error =
            CompileError::new("a &&\nself.z == 1", vec![Issue::at(9, "undefined field 'z'")]);
        let text = "ERROR: <input>:2:5: undefined field 'z'\n | self.z == 1\n | ....^";
        assert_eq!(error.to_string(), text);
    }
}
