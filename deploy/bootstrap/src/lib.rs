//! PKI, kubeconfigs, join tokens, component configs.
