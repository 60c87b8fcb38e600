//! ServiceAccount tokens: the claims we sign and the checks before we believe them.
//!
//! The claims are those of KEP-1205 (bound tokens): a token names its audiences, its ServiceAccount
//! by UID, and at most one object (Pod, Node or Secret) that it dies with.

use std::collections::BTreeMap;

use hansa_api::meta;
use serde_json::{Value, json};

use super::Identity;
use super::jwt::{self, SigningKey};
use crate::objects::Objects;

/// Shortest life that a TokenRequest may ask for, in seconds.
pub const MIN_EXPIRATION_SECS: u64 = 600;
/// Life of a token when the TokenRequest does not say, in seconds.
pub const DEFAULT_EXPIRATION_SECS: u64 = 3600;
const PREFIX: &str = "system:serviceaccount:";
const POD_NAME: &str = "authentication.kubernetes.io/pod-name";
const POD_UID: &str = "authentication.kubernetes.io/pod-uid";
const NODE_NAME: &str = "authentication.kubernetes.io/node-name";
const NODE_UID: &str = "authentication.kubernetes.io/node-uid";
const CREDENTIAL_ID: &str = "authentication.kubernetes.io/credential-id";

/// Why a token is not believed.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum Error {
    /// The signature or the form is wrong.
    #[error(transparent)]
    Jwt(#[from] jwt::Error),
    /// Somebody else's token.
    #[error("accept the token's issuer")]
    Issuer,
    /// The token is for another audience.
    #[error("match audiences: token audiences {0:?} are not accepted here")]
    Audience(Vec<String>),
    /// Its time is over or has not come.
    #[error("accept the token at this time: {0}")]
    Time(&'static str),
    /// A claim is missing.
    #[error("find the claim {0}")]
    Claim(&'static str),
    /// The ServiceAccount or bound object is gone or is another one of the same name.
    #[error("find the live {0} that the token is bound to")]
    Gone(&'static str),
}

/// An object that a token dies with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BoundObject {
    /// `pod`, `node` or `secret`: the claim's key.
    pub kind: &'static str,
    /// Its name.
    pub name: String,
    /// Its UID.
    pub uid: String,
}

/// What a valid token says, before the live objects were looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claims {
    /// The ServiceAccount's namespace.
    pub namespace: String,
    /// The ServiceAccount's name.
    pub name: String,
    /// The ServiceAccount's UID.
    pub uid: String,
    /// What else the token names: bound objects, and the node of a bound pod.
    pub refs: Vec<BoundObject>,
    /// The audiences it was issued for.
    pub audiences: Vec<String>,
    /// The token's id.
    pub id: String,
    /// End of life, seconds since the epoch.
    pub expires: u64,
}

/// What is to be signed.
pub struct Grant<'a> {
    /// The live ServiceAccount.
    pub account: &'a Value,
    /// Objects named in the token.
    pub refs: &'a [BoundObject],
    /// Audiences; empty means the server's own.
    pub audiences: &'a [String],
    /// Life in seconds.
    pub lifetime_secs: u64,
    /// Now, seconds since the epoch.
    pub now: u64,
}

/// Issues and checks ServiceAccount tokens of one issuer.
pub struct Tokens {
    key: SigningKey,
    issuer: String,
    audiences: Vec<String>,
}

impl Tokens {
    /// An issuer; its name is also the server's audience.
    pub fn new(key: SigningKey, issuer: String) -> Self {
        Self { key, audiences: vec![issuer.clone()], issuer }
    }

    /// The issuer, an `https` URL.
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// The audiences that this server answers to.
    pub fn audiences(&self) -> &[String] {
        &self.audiences
    }

    /// Whether a token claims to be ours; says nothing about whether it is.
    pub fn is_ours(&self, token: &str) -> bool {
        jwt::unverified_claims(token).is_ok_and(|claims| claims["iss"] == *self.issuer)
    }

    /// Signs a token.
    pub fn issue(&self, grant: &Grant<'_>) -> Result<String, jwt::Error> {
        self.key.sign(&self.claims(grant))
    }

    fn claims(&self, grant: &Grant<'_>) -> Value {
        let (namespace, name) = (meta::namespace(grant.account), meta::name(grant.account));
        let audiences = if grant.audiences.is_empty() { &self.audiences } else { grant.audiences };
        let mut private = json!({
            "namespace": namespace,
            "serviceaccount": {"name": name, "uid": meta::uid(grant.account)},
        });
        for bound in grant.refs {
            private[bound.kind] = json!({"name": bound.name, "uid": bound.uid});
        }
        json!({
            "iss": self.issuer,
            "sub": username(namespace, name),
            "aud": audiences,
            "iat": grant.now,
            "nbf": grant.now,
            "exp": grant.now + grant.lifetime_secs,
            "jti": uuid::Uuid::new_v4().to_string(),
            "kubernetes.io": private,
        })
    }

    /// Checks signature, issuer, time and audience; `accepted` empty means the server's own.
    pub fn verify(&self, token: &str, accepted: &[String], now: u64) -> Result<Claims, Error> {
        let claims = self.key.verify(token)?;
        let accepted = if accepted.is_empty() { &self.audiences } else { accepted };
        check_claims(&claims, &self.issuer, accepted, now)
    }

    /// The key set that outsiders verify our tokens with (RFC 7517).
    pub fn jwks(&self) -> Value {
        json!({"keys": [self.key.jwk()]})
    }

    /// The OpenID provider metadata of the issuer.
    pub fn openid_configuration(&self) -> Value {
        let algorithm = self.key.jwk()["alg"].clone();
        json!({
            "issuer": self.issuer,
            "jwks_uri": format!("{}/openid/v1/jwks", self.issuer),
            "response_types_supported": ["id_token"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": [algorithm],
        })
    }
}

fn check_claims(
    claims: &Value,
    issuer: &str,
    accepted: &[String],
    now: u64,
) -> Result<Claims, Error> {
    if claims["iss"] != issuer {
        return Err(Error::Issuer);
    }
    let expires = claims["exp"].as_u64().ok_or(Error::Claim("exp"))?;
    if expires < now {
        return Err(Error::Time("it has expired"));
    }
    if claims["nbf"].as_u64().is_some_and(|start| start > now + 10) {
        return Err(Error::Time("it is not valid yet"));
    }
    let audiences = audiences_of(&claims["aud"]);
    if !audiences.iter().any(|audience| accepted.contains(audience)) {
        return Err(Error::Audience(audiences));
    }
    read_claims(claims, audiences, expires)
}

fn read_claims(claims: &Value, audiences: Vec<String>, expires: u64) -> Result<Claims, Error> {
    let private = &claims["kubernetes.io"];
    let text = |value: &Value, claim: &'static str| {
        value.as_str().filter(|text| !text.is_empty()).ok_or(Error::Claim(claim)).map(String::from)
    };
    let namespace = text(&private["namespace"], "kubernetes.io.namespace")?;
    let name = text(&private["serviceaccount"]["name"], "kubernetes.io.serviceaccount.name")?;
    if claims["sub"] != username(&namespace, &name) {
        return Err(Error::Claim("sub"));
    }
    let refs = ["pod", "node", "secret"].into_iter().filter_map(|kind| bound_object(private, kind));
    Ok(Claims {
        uid: text(&private["serviceaccount"]["uid"], "kubernetes.io.serviceaccount.uid")?,
        refs: refs.collect(),
        id: claims["jti"].as_str().unwrap_or_default().to_string(),
        namespace,
        name,
        audiences,
        expires,
    })
}

fn audiences_of(aud: &Value) -> Vec<String> {
    match aud {
        Value::String(one) => vec![one.clone()],
        Value::Array(all) => all.iter().filter_map(Value::as_str).map(String::from).collect(),
        _ => Vec::new(),
    }
}

fn bound_object(private: &Value, kind: &'static str) -> Option<BoundObject> {
    let bound = private.get(kind)?;
    let name = bound["name"].as_str()?.to_string();
    Some(BoundObject { kind, name, uid: bound["uid"].as_str().unwrap_or_default().to_string() })
}

/// `system:serviceaccount:NAMESPACE:NAME`.
pub fn username(namespace: &str, name: &str) -> String {
    format!("{PREFIX}{namespace}:{name}")
}

/// Namespace and name of a ServiceAccount's user name.
pub fn split_username(user: &str) -> Option<(&str, &str)> {
    let (namespace, name) = user.strip_prefix(PREFIX)?.split_once(':')?;
    (!namespace.is_empty() && !name.is_empty() && !name.contains(':')).then_some((namespace, name))
}

/// The groups of a namespace's ServiceAccounts.
pub fn groups(namespace: &str) -> [String; 2] {
    ["system:serviceaccounts".to_string(), format!("system:serviceaccounts:{namespace}")]
}

impl Claims {
    /// The user that the token stands for.
    pub fn identity(&self) -> Identity {
        let mut extra = BTreeMap::new();
        let mut add = |key: &str, value: &str| {
            if !value.is_empty() {
                extra.insert(key.to_string(), vec![value.to_string()]);
            }
        };
        add(CREDENTIAL_ID, &format!("JTI={}", self.id));
        for bound in &self.refs {
            match bound.kind {
                "pod" => (add(POD_NAME, &bound.name), add(POD_UID, &bound.uid)),
                "node" => (add(NODE_NAME, &bound.name), add(NODE_UID, &bound.uid)),
                _ => continue,
            };
        }
        let mut identity = Identity {
            name: username(&self.namespace, &self.name),
            uid: self.uid.clone(),
            groups: groups(&self.namespace).to_vec(),
            extra,
        };
        identity.add_authenticated_group();
        identity
    }

    /// Checks that the ServiceAccount and the bound object live and are the ones of then.
    pub async fn confirm(&self, objects: &dyn Objects) -> Result<(), Error> {
        let account = objects.get("serviceaccounts", &self.namespace, &self.name).await;
        if account.is_none_or(|account| meta::uid(&account) != self.uid) {
            return Err(Error::Gone("serviceaccount"));
        }
        let bound_to_pod = self.refs.iter().any(|bound| bound.kind == "pod");
        for bound in &self.refs {
            // The node of a pod's token is information, not a binding.
            if bound.kind == "node" && bound_to_pod {
                continue;
            }
            self.confirm_bound(bound, objects).await?;
        }
        Ok(())
    }

    async fn confirm_bound(&self, bound: &BoundObject, objects: &dyn Objects) -> Result<(), Error> {
        let (resource, namespace) = match bound.kind {
            "pod" => ("pods", self.namespace.as_str()),
            "secret" => ("secrets", self.namespace.as_str()),
            _ => ("nodes", ""),
        };
        let live = objects.get(resource, namespace, &bound.name).await;
        let same = live.is_some_and(|live| meta::uid(&live) == bound.uid);
        if same { Ok(()) } else { Err(Error::Gone(bound.kind)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::objects::fake::FakeObjects;

    const ISSUER: &str = "https://kubernetes.default.svc.cluster.local";

    fn tokens() -> Tokens {
        let pem = jwt::tests::new_key_pem();
        Tokens::new(SigningKey::from_pem(pem.as_bytes()).unwrap(), ISSUER.to_string())
    }

    fn account() -> Value {
        json!({"metadata": {"namespace": "shop", "name": "till", "uid": "u1"}})
    }

    fn issue(tokens: &Tokens, refs: &[BoundObject], audiences: &[String]) -> String {
        let account = account();
        let grant = Grant { account: &account, refs, audiences, lifetime_secs: 600, now: 1000 };
        tokens.issue(&grant).unwrap()
    }

    fn pod() -> BoundObject {
        BoundObject { kind: "pod", name: "till-0".into(), uid: "p1".into() }
    }

    #[test]
    fn a_token_becomes_its_service_account() {
        let tokens = tokens();
        let token = issue(&tokens, &[pod()], &[]);
        assert!(tokens.is_ours(&token));
        let identity = tokens.verify(&token, &[], 1001).unwrap().identity();
        assert_eq!(identity.name, "system:serviceaccount:shop:till");
        assert!(identity.in_group("system:serviceaccounts:shop"));
        assert!(identity.in_group("system:authenticated"));
        assert_eq!(identity.extra[POD_NAME], ["till-0"]);
    }

    #[test]
    fn expired_and_foreign_audience_tokens_are_refused() {
        let tokens = tokens();
        let token = issue(&tokens, &[], &[]);
        assert_eq!(tokens.verify(&token, &[], 1601), Err(Error::Time("it has expired")));
        let vault = vec!["vault".to_string()];
        let token = issue(&tokens, &[], &vault);
        assert_eq!(tokens.verify(&token, &[], 1001), Err(Error::Audience(vault.clone())));
        assert!(tokens.verify(&token, &vault, 1001).is_ok());
    }

    #[tokio::test]
    async fn a_token_dies_with_its_account_and_its_pod() {
        let tokens = tokens();
        let claims = tokens.verify(&issue(&tokens, &[pod()], &[]), &[], 1001).unwrap();
        let live_pod = json!({"metadata": {"namespace": "shop", "name": "till-0", "uid": "p1"}});
        let objects = FakeObjects::default();
        assert_eq!(claims.confirm(&objects).await, Err(Error::Gone("serviceaccount")));
        objects.put("serviceaccounts", account());
        assert_eq!(claims.confirm(&objects).await, Err(Error::Gone("pod")));
        objects.put("pods", live_pod);
        assert_eq!(claims.confirm(&objects).await, Ok(()));
        let mut recreated = account();
        recreated["metadata"]["uid"] = "u2".into();
        objects.put("serviceaccounts", recreated);
        assert_eq!(claims.confirm(&objects).await, Err(Error::Gone("serviceaccount")));
    }

    #[test]
    fn user_names_split_only_when_whole() {
        assert_eq!(split_username("system:serviceaccount:a:b"), Some(("a", "b")));
        assert_eq!(split_username("system:serviceaccount:a:"), None);
        assert_eq!(split_username("system:serviceaccount:a:b:c"), None);
        assert_eq!(split_username("ann"), None);
    }
}
