//! Who may approve and who may sign certificates for a signer, and what nobody may ask of one.

use hansa_api::ApiError;
use hansa_api::meta::{at, str_at};
use serde_json::Value;
use x509_parser::prelude::{FromDer, X509CertificationRequest};

use super::escalation::Write;
use super::{Attributes, Authorizer};
use crate::authn::MASTERS;
use crate::registry::parse_signing_request;

const GROUP: &str = "certificates.k8s.io";
/// Who signs for clients of the API server.
const CLIENT_SIGNER: &str = "kubernetes.io/kube-apiserver-client";

/// Refuses an approval or certificate that the writer may not give, and a request that would make
/// its owner all-powerful.
pub fn check(authorizer: &Authorizer, write: &Write<'_>) -> Result<(), ApiError> {
    let Write { group: GROUP, resource: "certificatesigningrequests", new: Some(new), .. } = write
    else {
        return Ok(());
    };
    match (write.subresource, write.old) {
        ("", None) => check_subject(write, new),
        ("approval", Some(old)) => may(authorizer, write, "approve", old),
        ("status", Some(old)) => {
            let same = |field: &str| at(new, &["status", field]) == at(old, &["status", field]);
            match same("certificate") && same("conditions") {
                true => Ok(()),
                false => may(authorizer, write, "sign", old),
            }
        }
        _ => Ok(()),
    }
}

/// The verb on the signer, or on all signers of its domain.
fn may(
    authorizer: &Authorizer,
    write: &Write<'_>,
    verb: &str,
    request: &Value,
) -> Result<(), ApiError> {
    let signer = str_at(request, &["spec", "signerName"]);
    let domain = signer.split('/').next().unwrap_or_default();
    let allowed = [signer.to_owned(), format!("{domain}/*")].iter().any(|name| {
        let attrs = Attributes {
            user: write.user,
            verb,
            namespace: "",
            group: GROUP,
            resource: "signers",
            subresource: "",
            name,
            path: "",
            is_resource: true,
            field_selector: "",
        };
        authorizer.rbac(&attrs).is_some()
    });
    if allowed || write.user.in_group(MASTERS) {
        return Ok(());
    }
    Err(write.refuse(format!("user not permitted to {verb} requests with signerName {signer:?}")))
}

fn check_subject(write: &Write<'_>, request: &Value) -> Result<(), ApiError> {
    if str_at(request, &["spec", "signerName"]) != CLIENT_SIGNER {
        return Ok(());
    }
    let unreadable = |why: String| write.refuse(format!("failed to parse CSR: {why}"));
    let der = parse_signing_request(str_at(request, &["spec", "request"])).map_err(unreadable)?;
    let (_, parsed) =
        X509CertificationRequest::from_der(&der).map_err(|error| unreadable(error.to_string()))?;
    let subject = &parsed.certification_request_info.subject;
    if subject.iter_organization().any(|name| name.as_str() == Ok(MASTERS)) {
        let why = format!("use of {CLIENT_SIGNER} signer with {MASTERS} group is not allowed");
        return Err(write.refuse(why));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::authn::Identity;

    fn authorizer() -> Authorizer {
        let authorizer = Authorizer::default();
        authorizer.update(|index| {
            index.set_role(&json!({"metadata": {"name": "r"}, "rules": [
                {"verbs": ["approve"], "apiGroups": [GROUP], "resources": ["signers"],
                 "resourceNames": ["a.io/*"]}]}));
            index.set_binding(&json!({"metadata": {"name": "b"},
                "roleRef": {"kind": "ClusterRole", "name": "r"},
                "subjects": [{"kind": "User", "name": "ann"}]}));
        });
        authorizer
    }

    fn result(user: &Identity, subresource: &str, signer: &str) -> Option<String> {
        let old = json!({"metadata": {"name": "x"}, "spec": {"signerName": signer}});
        let mut new = old.clone();
        new["status"] = json!({"certificate": "c"});
        let write = Write {
            user,
            group: GROUP,
            resource: "certificatesigningrequests",
            subresource,
            namespace: "",
            old: Some(&old),
            new: Some(&new),
        };
        check(&authorizer(), &write).err().map(|error| error.message)
    }

    #[test]
    fn signers_are_trusted_one_by_one() {
        let ann = Identity::user("ann", &[]);
        assert_eq!(result(&ann, "approval", "a.io/x"), None);
        assert_eq!(
            result(&ann, "approval", "b.io/x").as_deref(),
            Some(
                "certificatesigningrequests.certificates.k8s.io \"x\" is forbidden: user not \
                 permitted to approve requests with signerName \"b.io/x\""
            )
        );
        assert!(result(&ann, "status", "a.io/x").is_some());
        assert_eq!(result(&Identity::user("root", &[MASTERS]), "status", "a.io/x"), None);
    }
}
