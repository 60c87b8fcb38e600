//! Who is asking: client certificates, front proxies, ServiceAccount tokens, anonymous.

mod bearer;
pub mod impersonate;
pub mod jwt;
pub mod request_header;
pub mod service_account;
pub mod x509;

use std::collections::BTreeMap;

pub use bearer::{TokenAuthenticator, bearer_token};

/// The group of every authenticated user.
pub const AUTHENTICATED: &str = "system:authenticated";
/// The group of requests without credentials.
pub const UNAUTHENTICATED: &str = "system:unauthenticated";
/// The user of requests without credentials.
pub const ANONYMOUS: &str = "system:anonymous";
/// The one group that every authorizer lets through.
pub const MASTERS: &str = "system:masters";

/// An authenticated user, as RBAC and admission see it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// The user name.
    pub name: String,
    /// A unique id, empty if the authenticator has none.
    pub uid: String,
    /// The groups, `system:authenticated` among them.
    pub groups: Vec<String>,
    /// What else the authenticator knows, such as the pod a token is bound to.
    pub extra: BTreeMap<String, Vec<String>>,
}

impl Identity {
    /// The apiserver itself, which may do everything.
    pub fn apiserver() -> Self {
        Self::user("system:apiserver", &[MASTERS])
    }

    /// Whether the user is in `group`.
    pub fn in_group(&self, group: &str) -> bool {
        self.groups.iter().any(|own| own == group)
    }

    /// A user with these groups; `system:authenticated` is added.
    pub fn user(name: impl Into<String>, groups: &[&str]) -> Self {
        let mut identity = Self {
            name: name.into(),
            groups: groups.iter().map(|group| group.to_string()).collect(),
            ..Self::default()
        };
        identity.add_authenticated_group();
        identity
    }

    /// The user of requests without credentials.
    pub fn anonymous() -> Self {
        Self {
            name: ANONYMOUS.to_string(),
            groups: vec![UNAUTHENTICATED.to_string()],
            ..Self::default()
        }
    }

    /// Whether the request came without credentials.
    pub fn is_anonymous(&self) -> bool {
        self.name == ANONYMOUS
    }

    /// Adds `system:authenticated`, once; the anonymous user keeps its own group.
    pub fn add_authenticated_group(&mut self) {
        let known = self.in_group(AUTHENTICATED) || self.in_group(UNAUTHENTICATED);
        if !known && !self.is_anonymous() {
            self.groups.push(AUTHENTICATED.to_string());
        }
    }
}
