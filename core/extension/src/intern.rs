//! Interning: every text and every set of labels or taints gets a small number, defined once.

use std::collections::HashMap;
use std::hash::Hash;

use serde::{Deserialize, Serialize};

/// The id of a text; 0 is the empty text.
pub type Sym = u32;

/// The id of a defined set; 0 is the empty set.
pub type SetId = u32;

/// A label.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Label {
    /// The key.
    pub key: Sym,
    /// The value.
    pub value: Sym,
}

/// Numbers for values, in the order in which they were first seen, from 1.
#[derive(Clone, Debug)]
pub struct Table<T> {
    ids: HashMap<T, u32>,
    values: Vec<T>,
}

impl<T> Default for Table<T> {
    fn default() -> Self {
        Self { ids: HashMap::new(), values: Vec::new() }
    }
}

impl<T: Clone + Eq + Hash> Table<T> {
    /// The number of `value`, a new one if it was not seen before.
    pub fn id(&mut self, value: &T) -> u32 {
        if let Some(id) = self.ids.get(value) {
            return *id;
        }
        self.values.push(value.clone());
        let id = u32::try_from(self.values.len()).expect("fewer than 2^32 values fit in memory");
        self.ids.insert(value.clone(), id);
        id
    }

    /// The value with number `id`.
    pub fn get(&self, id: u32) -> Option<&T> {
        self.values.get((id as usize).checked_sub(1)?)
    }

    /// How many there are; the highest number.
    pub fn len(&self) -> usize {
        self.values.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// The values after the first `after`, with their numbers.
    pub fn numbered(&self, after: usize) -> Vec<(u32, T)> {
        let ids = after as u32 + 1..;
        ids.zip(self.values[after..].iter().cloned()).collect()
    }
}

/// The texts of a store.
#[derive(Clone, Debug, Default)]
pub struct Symbols(Table<String>);

impl Symbols {
    /// The symbol of `text`.
    pub fn sym(&mut self, text: &str) -> Sym {
        if text.is_empty() {
            return 0;
        }
        match self.0.ids.get(text) {
            Some(id) => *id,
            None => self.0.id(&text.to_owned()),
        }
    }

    /// The text of `sym`; empty if there is none.
    pub fn text(&self, sym: Sym) -> &str {
        self.0.get(sym).map_or("", String::as_str)
    }

    /// All texts; the first has the symbol 1.
    pub fn texts(&self) -> &[String] {
        &self.0.values
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_keeps_its_number_and_the_empty_one_is_zero() {
        let mut symbols = Symbols::default();
        let zone = symbols.sym("zone");
        assert_eq!((symbols.sym("a"), symbols.sym("zone"), symbols.sym("")), (zone + 1, zone, 0));
        assert_eq!((symbols.text(zone), symbols.text(0), symbols.text(99)), ("zone", "", ""));
    }
}
