//! What kubeadm does for a cluster before its first request: keys, certificates, kubeconfigs.
//!
//! [`pki`] keeps the certificates of one cluster in a directory laid out as kubeadm's; everything it
//! makes is kept and renewed in place. [`kubeconfig`] writes the files that clients read.

mod files;
pub mod kubeconfig;
pub mod pki;
