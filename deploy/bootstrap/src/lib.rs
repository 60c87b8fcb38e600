//! What kubeadm does before a cluster runs: keys and certificates, and kubeconfigs.

pub mod kubeconfig;
pub mod pki;
