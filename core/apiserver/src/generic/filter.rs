//! Which objects of a resource a reader wants: namespace, labels, fields.

use hansa_api::selector::field::FieldTerm;
use hansa_api::selector::{FieldSelector, Selector};
use hansa_api::status::ApiError;

use super::cache::Interest;
use super::catalog::Served;
use super::entry::{Change, Entry, EventType};

const NAME: &str = "metadata.name";
const NAMESPACE: &str = "metadata.namespace";

/// A selection of objects.
#[derive(Clone, Debug)]
pub struct Filter {
    /// Only this namespace; all if empty.
    pub namespace: String,
    /// Only with these labels.
    pub labels: Selector,
    /// Only with these field values.
    pub fields: FieldSelector,
}

impl Filter {
    /// Everything in a namespace, or in all of them.
    pub fn all(namespace: &str) -> Self {
        Self {
            namespace: namespace.to_string(),
            labels: Selector::everything(),
            fields: FieldSelector::default(),
        }
    }

    /// Also requires a field to have a value.
    pub fn with_field(mut self, path: &str, value: &str) -> Self {
        self.fields.terms.push(FieldTerm {
            path: path.to_string(),
            negated: false,
            value: value.to_string(),
        });
        self
    }

    /// Refuses fields that the kind cannot select by.
    pub fn check(&self, served: &Served) -> Result<(), ApiError> {
        let supported = served.strategy.selectable_fields();
        let known = |path: &str| {
            path == NAME
                || (path == NAMESPACE && (served.resource.namespaced || supported.is_empty()))
                || supported.iter().any(|field| field == path)
        };
        match self.fields.terms.iter().find(|term| !known(&term.path)) {
            // Kinds that select by nothing of their own share one text.
            Some(term) if supported.is_empty() => Err(ApiError::bad_request(format!(
                "{:?} is not a known field selector: only {NAME:?}, {NAMESPACE:?}",
                term.path
            ))),
            Some(term) => {
                Err(ApiError::bad_request(format!("field label not supported: {}", term.path)))
            }
            None => Ok(()),
        }
    }

    /// Whether objects are picked by anything but their namespace.
    pub fn selects(&self) -> bool {
        !self.labels.is_everything() || !self.fields.is_empty()
    }

    /// Whether an object is wanted; its namespace is looked at too.
    pub fn matches(&self, entry: &Entry) -> bool {
        (self.namespace.is_empty() || entry.namespace() == self.namespace)
            && self.labels.matches_with(|key| entry.labels.get(key).map(String::as_str))
            && self
                .fields
                .terms
                .iter()
                .all(|term| (entry.field(&term.path) == term.value.as_str()) != term.negated)
    }

    /// What a change is to this reader: an object that comes into or leaves the selection is new or
    /// gone to it.
    pub fn event(&self, change: &Change) -> Option<EventType> {
        let wanted = |entry: &Option<_>| {
            entry.as_ref().is_some_and(|e: &std::sync::Arc<Entry>| self.matches(e))
        };
        match (wanted(&change.old), wanted(&change.new)) {
            (false, true) => Some(EventType::Added),
            (true, true) => Some(EventType::Modified),
            (true, false) => Some(EventType::Deleted),
            (false, false) => None,
        }
    }

    /// The relative key, if the selection can only ever hold one object.
    pub fn single_key(&self, served: &Served) -> Option<String> {
        let name = self.fields.required_value(NAME)?;
        if !served.resource.namespaced {
            return Some(name.to_string());
        }
        let namespace = match self.namespace.as_str() {
            "" => self.fields.required_value(NAMESPACE)?,
            namespace => namespace,
        };
        Some(format!("{namespace}/{name}"))
    }

    /// The narrowest group of watchers that hears of every change to the selection.
    pub fn interest(&self, served: &Served) -> Interest {
        if let Some(key) = self.single_key(served) {
            return Interest::Object(key);
        }
        let supported = served.strategy.selectable_fields();
        let pinned = self.fields.terms.iter().find(|term| {
            !term.negated && supported.iter().any(|field| *field == term.path.as_str())
        });
        match pinned {
            Some(term) => Interest::Field(term.path.clone(), term.value.clone()),
            None if self.namespace.is_empty() => Interest::All,
            None => Interest::Namespace(self.namespace.clone()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::resource::Resource;
    use super::super::strategy::{Plain, Strategy};
    use super::*;

    struct Nodes;
    impl Strategy for Nodes {
        fn selectable_fields(&self) -> Vec<super::super::resource::Str> {
            vec!["spec.nodeName".into()]
        }
    }

    #[test]
    fn a_filter_joins_the_narrowest_group() {
        let pods = Served::builtin(Resource::new("", "v1", "Pod", "pods").namespaced(), Nodes);
        let nodes = Served::builtin(Resource::new("", "v1", "Node", "nodes"), Plain);
        let all = || Filter::all("");
        let cases = [
            (&pods, all(), Interest::All),
            (&pods, Filter::all("n"), Interest::Namespace("n".into())),
            (&pods, Filter::all("n").with_field(NAME, "a"), Interest::Object("n/a".into())),
            (&nodes, all().with_field(NAME, "a"), Interest::Object("a".into())),
            (
                &pods,
                Filter::all("n").with_field("spec.nodeName", "x"),
                Interest::Field("spec.nodeName".into(), "x".into()),
            ),
            (&pods, all().with_field(NAME, "a"), Interest::All),
        ];
        for (served, filter, interest) in cases {
            assert_eq!(filter.interest(served), interest);
        }
    }

    #[test]
    fn fields_that_a_kind_does_not_have_are_refused() {
        let nodes = Served::builtin(Resource::new("", "v1", "Node", "nodes"), Plain);
        let check = |served: &Served, path| Filter::all("").with_field(path, "x").check(served);
        let error = check(&nodes, "spec.nodeName").unwrap_err();
        let only = "only \"metadata.name\", \"metadata.namespace\"";
        assert_eq!(
            error.message,
            format!("\"spec.nodeName\" is not a known field selector: {only}")
        );
        let pods = Served::builtin(Resource::new("", "v1", "Pod", "pods").namespaced(), Nodes);
        let error = check(&pods, "spec.unheardOf").unwrap_err();
        assert_eq!(error.message, "field label not supported: spec.unheardOf");
        for path in [NAME, NAMESPACE] {
            assert!(check(&nodes, path).is_ok());
        }
    }
}
