//! Writing an admission policy: implement [`Policy`], export it with [`crate::export_admission!`].

use serde::de::DeserializeOwned;
use serde_json::{Value, json};

pub use crate::bindings::admission::hansa::admission::types::{
    Change, Gvr, Interests, Mutation, Operation, Request, User, Verdict,
};
pub use crate::bindings::admission::hansa::core::types::Gvk;

use crate::Settings;

/// A policy about what objects may look like, as plain functions of a request. Which requests it
/// sees is up to the host, by the rules of the `Plugin` object.
pub trait Policy: Sized + 'static {
    /// The policy's name.
    const NAME: &'static str;
    /// What it wants to be asked.
    const INTERESTS: Interests;

    /// Makes the policy from its settings.
    ///
    /// # Errors
    /// A text for people; the policy is then refused.
    fn configure(settings: &Settings) -> Result<Self, String>;

    /// Changes the object.
    fn mutate(&mut self, request: &Request) -> Mutation {
        let _ = request;
        unchanged(allow())
    }

    /// Says yes or no to the object as it would be stored.
    fn validate(&mut self, request: &Request) -> Verdict {
        let _ = request;
        allow()
    }
}

/// The interests of a policy that says yes or no.
pub const VALIDATES: Interests = Interests { mutates: false, validates: true, old_object: false };
/// The interests of a policy that changes objects.
pub const MUTATES: Interests = Interests { mutates: true, validates: false, old_object: false };

/// A request about nothing yet.
pub fn request(operation: Operation) -> Request {
    let text = String::new;
    Request {
        kind: Gvk { group: text(), version: text(), kind: text() },
        resource: Gvr { group: text(), version: text(), resource: text() },
        sub_resource: text(),
        namespace: text(),
        name: text(),
        operation,
        user: User { name: text(), uid: text(), groups: Vec::new(), extra: Vec::new() },
        dry_run: false,
        object: None,
        old_object: None,
    }
}

/// The object of a request as `T`, or for a deletion the one that goes. Give `T` only the fields
/// that the policy looks at: reading the rest is what takes time.
///
/// # Errors
/// A refusal if the object does not fit.
pub fn read<T: DeserializeOwned>(request: &Request) -> Result<T, Verdict> {
    let bytes = request.object.as_ref().or(request.old_object.as_ref());
    let bytes = bytes.map_or(&b"null"[..], Vec::as_slice);
    serde_json::from_slice(bytes)
        .map_err(|error| deny_with(422, format!("the object cannot be read: {error}")))
}

/// Yes. For warnings and annotations: `Verdict { warnings, ..allow() }`.
pub fn allow() -> Verdict {
    let message = String::new();
    Verdict { allowed: true, code: 0, message, warnings: Vec::new(), audit: Vec::new() }
}

/// No: 403.
pub fn deny(message: impl Into<String>) -> Verdict {
    deny_with(403, message)
}

/// No, with an HTTP status of 400 to 599.
pub fn deny_with(code: u16, message: impl Into<String>) -> Verdict {
    Verdict { allowed: false, code, message: message.into(), ..allow() }
}

/// What a verdict is without a change.
pub fn unchanged(verdict: Verdict) -> Mutation {
    Mutation { verdict, change: Change::Unchanged }
}

/// Yes, with a JSON Patch; without operations the object stays as it is.
pub fn patched(Patch(operations): Patch) -> Mutation {
    let change = match operations.is_empty() {
        true => Change::Unchanged,
        false => Change::Patch(Value::Array(operations).to_string().into()),
    };
    Mutation { verdict: allow(), change }
}

/// A JSON Patch (RFC 6902) in the making.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Patch(Vec<Value>);

impl Patch {
    /// Adds a value, or replaces the one that is there. `path` is of plain steps, such as
    /// `["metadata", "labels", "a/b"]`.
    pub fn add(&mut self, path: &[&str], value: impl Into<Value>) {
        let value: Value = value.into();
        self.0.push(json!({"op": "add", "path": pointer(path), "value": value}));
    }

    /// Removes what is there.
    pub fn remove(&mut self, path: &[&str]) {
        self.0.push(json!({"op": "remove", "path": pointer(path)}));
    }
}

/// The JSON Pointer (RFC 6901) of some steps.
fn pointer(path: &[&str]) -> String {
    path.iter().map(|step| format!("/{}", step.replace('~', "~0").replace('/', "~1"))).collect()
}

/// Where an exported policy is kept.
#[cfg(target_arch = "wasm32")]
#[doc(hidden)]
pub struct Place<P>(std::cell::RefCell<Option<P>>);

#[cfg(target_arch = "wasm32")]
impl<P: Policy> Place<P> {
    /// An empty place.
    pub const fn new() -> Self {
        Self(std::cell::RefCell::new(None))
    }

    /// Puts a configured policy there.
    ///
    /// # Errors
    /// What the policy says of its settings.
    pub fn configure(&self, settings: Vec<u8>) -> Result<(), String> {
        *self.0.borrow_mut() = Some(P::configure(&Settings::new(settings))?);
        Ok(())
    }

    /// Calls with the policy.
    pub fn with<R>(&self, call: impl FnOnce(&mut P) -> R) -> R {
        let mut place = self.0.borrow_mut();
        call(place.as_mut().expect("the host configures before it calls"))
    }
}

/// Turns a [`Policy`] into a component of the world `hansa:admission/policy`.
#[macro_export]
macro_rules! export_admission {
    ($policy:ty) => {
        mod hansa_component {
            #![allow(unsafe_code, missing_docs)]
            use super::*;
            use $crate::admission as a;
            use $crate::admission::Policy as _;
            use $crate::bindings::admission as b;
            use $crate::bindings::admission::exports::hansa::admission::review;
            use $crate::bindings::admission::exports::hansa::core::lifecycle;

            std::thread_local! {
                static PLACE: a::Place<$policy> = const { a::Place::new() };
            }

            struct Component;

            $crate::lifecycle_exports!(b, $policy, a::Policy);

            impl review::Guest for Component {
                fn needs() -> a::Interests {
                    <$policy as a::Policy>::INTERESTS
                }
                fn mutate(r: a::Request) -> a::Mutation {
                    PLACE.with(|place| place.with(|policy| policy.mutate(&r)))
                }
                fn validate(r: a::Request) -> a::Verdict {
                    PLACE.with(|place| place.with(|policy| policy.validate(&r)))
                }
            }

            b::export_policy!(Component with_types_in b);
        }
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_patch_escapes_what_a_pointer_needs_escaped() {
        let mut patch = Patch::default();
        patch.add(&["metadata", "labels", "a/b~c"], "d");
        let Change::Patch(bytes) = patched(patch).change else { panic!("a patch") };
        let made: Value = serde_json::from_slice(&bytes).unwrap();
        let wanted = json!([{"op": "add", "path": "/metadata/labels/a~1b~0c", "value": "d"}]);
        assert_eq!(made, wanted);
        assert_eq!(patched(Patch::default()), unchanged(allow()));
    }
}
