//! The cloud-controller-manager: node and service controllers over the provider trait.
