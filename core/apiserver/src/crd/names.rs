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

/// Which of the names that a definition asks for it has.
#[derive(Clone, Debug)]
pub(super) struct Verdict {
    /// The names that it has: those asked for where they are free, else what it had before.
    pub(super) accepted: Names,
    /// The last conflict.
    pub(super) conflict: Option<NameConflict>,
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

    /// Decides on the names that a definition asks for, given those that it has.
    pub(super) fn decide(
        &self,
        group: &str,
        wanted: &Names,
        before: &Names,
        owner: &str,
    ) -> Verdict {
        let mut verdict = Verdict { accepted: before.clone(), conflict: None };
        let resource = |name: &String| self.refusal(&self.resources, group, name, owner);
        let kind = |name: &String| self.refusal(&self.kinds, group, name, owner);
        verdict.take("PluralConflict", resource(&wanted.plural), |names| {
            names.plural.clone_from(&wanted.plural);
        });
        verdict.take("SingularConflict", resource(&wanted.singular), |names| {
            names.singular.clone_from(&wanted.singular);
        });
        verdict.take(
            "ShortNamesConflict",
            all(wanted.short.iter().filter_map(resource)),
            |names| {
                names.short.clone_from(&wanted.short);
            },
        );
        verdict.take("KindConflict", kind(&wanted.kind), |names| {
            names.kind.clone_from(&wanted.kind);
        });
        verdict.take("ListKindConflict", kind(&wanted.list_kind), |names| {
            names.list_kind.clone_from(&wanted.list_kind);
        });
        verdict.accepted.categories.clone_from(&wanted.categories);
        verdict
    }

    fn refusal(
        &self,
        taken: &HashMap<(String, String), String>,
        group: &str,
        name: &str,
        owner: &str,
    ) -> Option<String> {
        let other = taken.get(&(group.to_string(), name.to_string()))?;
        (other != owner && !name.is_empty()).then(|| format!("{name:?} is already in use"))
    }
}

/// Several refusals as one text.
fn all(refusals: impl Iterator<Item = String>) -> Option<String> {
    let texts: Vec<_> = refusals.collect();
    match &texts[..] {
        [] => None,
        [only] => Some(only.clone()),
        many => Some(format!("[{}]", many.join(", "))),
    }
}

impl Verdict {
    fn take(&mut self, reason: &'static str, refusal: Option<String>, give: impl Fn(&mut Names)) {
        match refusal {
            Some(message) => self.conflict = Some(NameConflict { reason, message }),
            None => give(&mut self.accepted),
        }
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
        let check = |group, names: &Names, owner| {
            taken.decide(group, names, &Names::default(), owner).conflict
        };
        assert!(check("a.io", &names("foos", "Foo", "f"), "foos.a.io").is_none());
        assert!(check("b.io", &names("foos", "Foo", "f"), "foos.b.io").is_none());
        let cases = [
            (names("foos", "Bar", "b"), "PluralConflict"),
            (names("bars", "Foo", "b"), "ListKindConflict"),
            (names("bars", "Bar", "f"), "ShortNamesConflict"),
        ];
        for (names, reason) in cases {
            assert_eq!(check("a.io", &names, "bars.a.io").unwrap().reason, reason);
        }
    }

    #[test]
    fn what_is_free_is_given_beside_what_is_not() {
        let mut taken = Taken::default();
        taken.give("a.io", &names("foos", "Foo", "f"), "foos.a.io");
        let before = names("bars", "Bar", "b");
        let wanted = Names { categories: vec!["all".into()], ..names("bars", "Bar", "f") };
        let verdict = taken.decide("a.io", &wanted, &before, "bars.a.io");
        assert_eq!(verdict.conflict.unwrap().message, "\"f\" is already in use");
        assert_eq!(verdict.accepted.short, ["b"]);
        assert_eq!(verdict.accepted.categories, ["all"]);
    }
}
