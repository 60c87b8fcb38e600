//! Signed tokens (JWS compact form, RFC 7515) with ES256 or RS256 over ring.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rand::SystemRandom;
use ring::signature::{self, EcdsaKeyPair, KeyPair, RsaKeyPair, UnparsedPublicKey};
use rustls_pki_types::PrivateKeyDer;
use rustls_pki_types::pem::PemObject;
use serde_json::{Value, json};

/// DER that precedes an uncompressed P-256 point in a SubjectPublicKeyInfo (RFC 5480).
const P256_SPKI_PREFIX: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a,
    0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];

/// DER of the algorithm identifier rsaEncryption (RFC 8017).
const RSA_ALGORITHM: [u8; 15] =
    [0x30, 0x0d, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01, 0x05, 0x00];

/// Why a token could not be signed or is not to be believed.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum Error {
    /// The PEM holds no key that can sign.
    #[error("read a P-256 or RSA signing key from the PEM")]
    Key,
    /// The key refused to sign.
    #[error("sign the token")]
    Sign,
    /// The token is not three base64url parts around JSON.
    #[error("parse the token")]
    Malformed,
    /// No known key made this signature.
    #[error("verify the token's signature")]
    Signature,
}

enum Pair {
    Ec(EcdsaKeyPair),
    Rsa(RsaKeyPair),
}

/// A key pair that signs tokens and verifies its own.
pub struct SigningKey {
    pair: Pair,
    kid: String,
}

impl SigningKey {
    /// Reads a PKCS#8 P-256 key, or an RSA key in PKCS#8 or PKCS#1.
    pub fn from_pem(pem: &[u8]) -> Result<Self, Error> {
        let der = PrivateKeyDer::from_pem_slice(pem).map_err(|_| Error::Key)?;
        let pair = read_pair(&der)?;
        let kid = key_id(&spki(&pair));
        Ok(Self { pair, kid })
    }

    /// The key's id: base64url of the SHA-256 of its SubjectPublicKeyInfo, as upstream has it.
    pub fn key_id(&self) -> &str {
        &self.kid
    }

    fn algorithm(&self) -> &'static str {
        match self.pair {
            Pair::Ec(_) => "ES256",
            Pair::Rsa(_) => "RS256",
        }
    }

    /// Signs claims into a compact token.
    pub fn sign(&self, claims: &Value) -> Result<String, Error> {
        let header = json!({"alg": self.algorithm(), "kid": self.kid});
        let message = format!("{}.{}", encode_json(&header), encode_json(claims));
        let signature = self.sign_bytes(message.as_bytes())?;
        Ok(format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }

    fn sign_bytes(&self, message: &[u8]) -> Result<Vec<u8>, Error> {
        let rng = SystemRandom::new();
        match &self.pair {
            Pair::Ec(pair) => {
                let signature = pair.sign(&rng, message).map_err(|_| Error::Sign)?;
                Ok(signature.as_ref().to_vec())
            }
            Pair::Rsa(pair) => {
                let mut signature = vec![0; pair.public().modulus_len()];
                pair.sign(&signature::RSA_PKCS1_SHA256, &rng, message, &mut signature)
                    .map_err(|_| Error::Sign)?;
                Ok(signature)
            }
        }
    }

    /// Checks a token's signature and returns its claims; says nothing about their content.
    pub fn verify(&self, token: &str) -> Result<Value, Error> {
        let (message, signature) = token.rsplit_once('.').ok_or(Error::Malformed)?;
        let (header, claims) = message.split_once('.').ok_or(Error::Malformed)?;
        let header = decode_json(header)?;
        if header["alg"] != self.algorithm() {
            return Err(Error::Signature);
        }
        if header.get("kid").is_some_and(|kid| *kid != *self.kid) {
            return Err(Error::Signature);
        }
        let signature = URL_SAFE_NO_PAD.decode(signature).map_err(|_| Error::Malformed)?;
        self.verify_bytes(message.as_bytes(), &signature)?;
        decode_json(claims)
    }

    fn verify_bytes(&self, message: &[u8], signature: &[u8]) -> Result<(), Error> {
        let result = match &self.pair {
            Pair::Ec(pair) => {
                let key = pair.public_key().as_ref();
                UnparsedPublicKey::new(&signature::ECDSA_P256_SHA256_FIXED, key)
                    .verify(message, signature)
            }
            Pair::Rsa(pair) => {
                let key = pair.public().as_ref();
                UnparsedPublicKey::new(&signature::RSA_PKCS1_2048_8192_SHA256, key)
                    .verify(message, signature)
            }
        };
        result.map_err(|_| Error::Signature)
    }

    /// The public key as a JSON Web Key (RFC 7517).
    pub fn jwk(&self) -> Value {
        let mut jwk = match &self.pair {
            Pair::Ec(pair) => {
                let point = pair.public_key().as_ref();
                let (x, y) = point[1..].split_at(32);
                json!({
                    "kty": "EC", "crv": "P-256",
                    "x": URL_SAFE_NO_PAD.encode(x), "y": URL_SAFE_NO_PAD.encode(y),
                })
            }
            Pair::Rsa(pair) => {
                let parts: signature::RsaPublicKeyComponents<Vec<u8>> = pair.public().into();
                json!({
                    "kty": "RSA",
                    "n": URL_SAFE_NO_PAD.encode(parts.n), "e": URL_SAFE_NO_PAD.encode(parts.e),
                })
            }
        };
        jwk["use"] = "sig".into();
        jwk["alg"] = self.algorithm().into();
        jwk["kid"] = self.kid.as_str().into();
        jwk
    }
}

fn read_pair(der: &PrivateKeyDer<'_>) -> Result<Pair, Error> {
    let rng = SystemRandom::new();
    match der {
        PrivateKeyDer::Pkcs8(key) => {
            let bytes = key.secret_pkcs8_der();
            let ec = &signature::ECDSA_P256_SHA256_FIXED_SIGNING;
            EcdsaKeyPair::from_pkcs8(ec, bytes, &rng)
                .map(Pair::Ec)
                .or_else(|_| RsaKeyPair::from_pkcs8(bytes).map(Pair::Rsa))
        }
        PrivateKeyDer::Pkcs1(key) => RsaKeyPair::from_der(key.secret_pkcs1_der()).map(Pair::Rsa),
        _ => return Err(Error::Key),
    }
    .map_err(|_| Error::Key)
}

fn spki(pair: &Pair) -> Vec<u8> {
    match pair {
        Pair::Ec(pair) => [&P256_SPKI_PREFIX, pair.public_key().as_ref()].concat(),
        Pair::Rsa(pair) => {
            let key = pair.public().as_ref();
            let bits = der_value(0x03, &[&[0], key].concat());
            der_value(0x30, &[&RSA_ALGORITHM[..], &bits].concat())
        }
    }
}

fn der_value(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut out = vec![tag];
    let length = content.len().to_be_bytes();
    let significant = &length[length.iter().take_while(|byte| **byte == 0).count()..];
    if content.len() < 0x80 {
        out.push(significant.first().copied().unwrap_or(0));
    } else {
        out.push(0x80 | u8::try_from(significant.len()).unwrap_or(8));
        out.extend_from_slice(significant);
    }
    out.extend_from_slice(content);
    out
}

fn key_id(spki: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(ring::digest::digest(&ring::digest::SHA256, spki))
}

fn encode_json(value: &Value) -> String {
    URL_SAFE_NO_PAD.encode(value.to_string())
}

fn decode_json(part: &str) -> Result<Value, Error> {
    let bytes = URL_SAFE_NO_PAD.decode(part).map_err(|_| Error::Malformed)?;
    serde_json::from_slice(&bytes).map_err(|_| Error::Malformed)
}

/// Claims of a token without any check; only to look at the issuer before choosing a verifier.
pub fn unverified_claims(token: &str) -> Result<Value, Error> {
    let mut parts = token.split('.');
    let (Some(_), Some(claims), Some(_), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(Error::Malformed);
    };
    decode_json(claims)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A fresh P-256 key in PEM.
    pub(crate) fn new_key_pem() -> String {
        let rng = SystemRandom::new();
        let algorithm = &signature::ECDSA_P256_SHA256_FIXED_SIGNING;
        let der = EcdsaKeyPair::generate_pkcs8(algorithm, &rng).unwrap();
        let text = base64::engine::general_purpose::STANDARD.encode(der.as_ref());
        format!("-----BEGIN PRIVATE KEY-----\n{text}\n-----END PRIVATE KEY-----\n")
    }

    #[test]
    fn a_signed_token_verifies_and_a_changed_one_does_not() {
        let key = SigningKey::from_pem(new_key_pem().as_bytes()).unwrap();
        let token = key.sign(&json!({"sub": "x"})).unwrap();
        assert_eq!(key.verify(&token).unwrap(), json!({"sub": "x"}));

        let (head, signature) = token.rsplit_once('.').unwrap();
        let header = head.split_once('.').unwrap().0;
        let forged = format!("{header}.{}.{signature}", encode_json(&json!({"sub": "root"})));
        assert_eq!(key.verify(&forged), Err(Error::Signature));
    }

    #[test]
    fn another_clusters_key_is_not_believed() {
        let ours = SigningKey::from_pem(new_key_pem().as_bytes()).unwrap();
        let theirs = SigningKey::from_pem(new_key_pem().as_bytes()).unwrap();
        let token = theirs.sign(&json!({"sub": "x"})).unwrap();
        assert_eq!(ours.verify(&token), Err(Error::Signature));
    }

    #[test]
    fn unsigned_tokens_and_garbage_are_refused() {
        let key = SigningKey::from_pem(new_key_pem().as_bytes()).unwrap();
        let none = format!("{}.{}.", encode_json(&json!({"alg": "none"})), encode_json(&json!({})));
        assert_eq!(key.verify(&none), Err(Error::Signature));
        for garbage in ["", "a", "a.b", "a.b.c", "....", "é.é.é"] {
            assert!(key.verify(garbage).is_err(), "{garbage}");
        }
    }
}
