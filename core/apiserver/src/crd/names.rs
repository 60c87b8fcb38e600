//! Whether a definition's names are free: upstream's NamesAccepted and Established conditions.

use std::collections::HashMap;

use super::definition::Names;

/// What names a group has given away, and to which definition.
#[derive(Default)]
pub(super) struct Taken {
    resources: HashMap<(String, String), String>,
    kinds: HashMap<(String, String), String>,
}

/// Why names are refused: the condition's reason and message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct NameConflict {
    pub(super) reason: &'static str,
    pub(super) message: String,
}

impl Taken {
    /// Gives a group's names to an owner; names that others have stay theirs.
    pub(super) fn give(&mut self, group: &str, names: &Names, owner: &str) {
        let key = |name: &str| (group.to_string(), name.to_string());
        for name in names.resources() {
            self.resources.entry(key(name)).or_insert_with(|| owner.to_string());
        }
        for kind in names.kinds() {
            self.kinds.entry(key(kind)).or_insert_with(|| owner.to_string());
        }
    }

    /// The first of the names that somebody else has.
    pub(super) fn check(
        &self,
        group: &str,
        names: &Names,
        owner: &str,
    ) -> Result<(), NameConflict> {
        let shorts = names.short.iter().map(|name| ("ShortNamesConflict", name));
        let resources = [("PluralConflict", &names.plural), ("SingularConflict", &names.singular)];
        for (reason, name) in resources.into_iter().chain(shorts) {
            refuse_if_taken(&self.resources, group, name, owner, reason)?;
        }
        let kinds = [("KindConflict", &names.kind), ("ListKindConflict", &names.list_kind)];
        for (reason, name) in kinds {
            refuse_if_taken(&self.kinds, group, name, owner, reason)?;
        }
        Ok(())
    }
}

fn refuse_if_taken(
    taken: &HashMap<(String, String), String>,
    group: &str,
    name: &str,
    owner: &str,
    reason: &'static str,
) -> Result<(), NameConflict> {
    match taken.get(&(group.to_string(), name.to_string())) {
        Some(other) if other != owner && !name.is_empty() => {
            Err(NameConflict { reason, message: format!("{name:?} is already in use") })
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(plural: &str, kind: &str, short: &str) -> Names {
        Names {
            plural: plural.into(),
            kind: kind.into(),
            list_kind: format!("{kind}List"),
            short: vec![short.into()],
            ..Names::default()
        }
    }

    #[test]
    fn the_first_to_come_keeps_its_names() {
        let mut taken = Taken::default();
        taken.give("a.io", &names("foos", "Foo", "f"), "foos.a.io");
        let check = |group, names: &Names, owner| taken.check(group, names, owner);
        assert!(check("a.io", &names("foos", "Foo", "f"), "foos.a.io").is_ok());
        assert!(check("b.io", &names("foos", "Foo", "f"), "foos.b.io").is_ok());
        let cases = [
            (names("foos", "Bar", "b"), "PluralConflict"),
            (names("bars", "Foo", "b"), "KindConflict"),
            (names("bars", "Bar", "f"), "ShortNamesConflict"),
        ];
        for (names, reason) in cases {
            assert_eq!(check("a.io", &names, "bars.a.io").unwrap_err().reason, reason);
        }
    }
}
