//! The guest side of the exports: one runner per instance.

use std::cell::RefCell;

use super::{Policy, Runner};
use crate::Settings;

/// Where an exported policy keeps its runner.
pub struct Place<P>(RefCell<Option<Runner<P>>>);

impl<P: Policy> Place<P> {
    /// An empty place.
    pub const fn new() -> Self {
        Self(RefCell::new(None))
    }

    /// Puts a configured policy there.
    ///
    /// # Errors
    /// What the policy says of its settings.
    pub fn configure(&self, settings: Vec<u8>) -> Result<(), String> {
        *self.0.borrow_mut() = Some(Runner::new(&Settings::new(settings))?);
        Ok(())
    }

    /// Calls with the runner.
    pub fn with<R>(&self, call: impl FnOnce(&mut Runner<P>) -> R) -> R {
        let mut place = self.0.borrow_mut();
        call(place.as_mut().expect("the host configures before it calls"))
    }
}

/// Turns a [`Policy`] into a component of the world `hansa:federation/policy`.
#[macro_export]
macro_rules! export_federation {
    ($policy:ty) => {
        mod hansa_component {
            #![allow(unsafe_code, missing_docs)]
            use super::*;
            use $crate::bindings::federation as b;
            use $crate::bindings::federation::exports::hansa::core::lifecycle;
            use $crate::bindings::federation::exports::hansa::federation::{
                cluster_store, divide, select,
            };
            use $crate::federation as f;

            std::thread_local! {
                static PLACE: f::guest::Place<$policy> = const { f::guest::Place::new() };
            }

            fn with<R>(call: impl FnOnce(&mut f::Runner<$policy>) -> R) -> R {
                PLACE.with(|place| place.with(call))
            }

            struct Component;

            $crate::lifecycle_exports!(b, $policy, f::Policy);

            impl cluster_store::Guest for Component {
                fn reset(capacity: u32) {
                    with(|r| r.members.reset(capacity));
                }
                fn define_symbols(first: f::Sym, text: Vec<String>) {
                    with(|r| r.members.define_symbols(first, text));
                }
                fn define_label_set(id: f::SetId, members: Vec<f::Label>) {
                    with(|r| r.members.define_label_set(id, members));
                }
                fn define_taint_set(id: f::SetId, members: Vec<f::Taint>) {
                    with(|r| r.members.define_taint_set(id, members));
                }
                fn upsert(rows: Vec<f::ClusterRow>) {
                    with(|r| r.members.upsert(rows));
                }
                fn remove(rows: Vec<u32>) {
                    with(|r| rows.iter().for_each(|ix| r.members.remove(*ix)));
                }
                fn commit(version: u64) {
                    with(|r| r.members.commit(version));
                }
            }

            impl select::Guest for Component {
                fn run(p: f::Placement) -> f::Evaluation {
                    with(|r| r.select(&p))
                }
            }

            impl divide::Guest for Component {
                fn run(
                    p: f::Placement,
                    candidates: Vec<u32>,
                    scores: Vec<u8>,
                    capacity: Vec<u32>,
                ) -> f::Division {
                    with(|r| r.divide(&p, &candidates, &scores, &capacity))
                }
            }

            b::export_policy!(Component with_types_in b);
        }
    };
}
