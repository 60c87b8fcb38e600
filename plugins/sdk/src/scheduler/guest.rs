//! The guest side of the exports: one runner per instance.

use std::cell::RefCell;

use super::{Policy, Runner};
use crate::Settings;

/// Where an exported plugin keeps its runner.
pub struct Place<P>(RefCell<Option<Runner<P>>>);

impl<P: Policy> Place<P> {
    /// An empty place.
    pub const fn new() -> Self {
        Self(RefCell::new(None))
    }

    /// Puts a configured plugin there.
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

/// Turns a [`Policy`] into a component of the world `hansa:scheduler/filter-score`.
#[macro_export]
macro_rules! export_scheduler {
    ($policy:ty) => {
        mod hansa_component {
            #![allow(unsafe_code, missing_docs)]
            use super::*;
            use $crate::bindings::scheduler as b;
            use $crate::bindings::scheduler::exports::hansa::core::lifecycle;
            use $crate::bindings::scheduler::exports::hansa::scheduler::{evaluate, node_store};
            use $crate::scheduler as s;

            std::thread_local! {
                static PLACE: s::guest::Place<$policy> = const { s::guest::Place::new() };
            }

            fn with<R>(call: impl FnOnce(&mut s::Runner<$policy>) -> R) -> R {
                PLACE.with(|place| place.with(call))
            }

            struct Component;

            $crate::lifecycle_exports!(b, $policy, s::Policy);

            impl node_store::Guest for Component {
                fn reset(capacity: u32) {
                    with(|r| r.nodes.reset(capacity));
                }
                fn define_symbols(first: s::Sym, text: Vec<String>) {
                    with(|r| r.nodes.define_symbols(first, text));
                }
                fn define_label_set(id: s::SetId, members: Vec<s::Label>) {
                    with(|r| r.nodes.define_label_set(id, members));
                }
                fn define_taint_set(id: s::SetId, members: Vec<s::Taint>) {
                    with(|r| r.nodes.define_taint_set(id, members));
                }
                fn define_group(id: s::SetId, namespace: s::Sym, labels: s::SetId) {
                    with(|r| r.nodes.define_group(id, namespace, labels));
                }
                fn upsert(rows: Vec<s::NodeRow>) {
                    with(|r| r.nodes.upsert(&rows));
                }
                fn update_usage(rows: Vec<s::UsageRow>) {
                    with(|r| r.nodes.update_usage(&rows));
                }
                fn update_ext(rows: Vec<s::ExtRow>) {
                    with(|r| rows.iter().for_each(|row| r.nodes.update_ext(row)));
                }
                fn update_ports(rows: Vec<s::PortRow>) {
                    with(|r| rows.iter().for_each(|row| r.nodes.update_port(row)));
                }
                fn update_groups(rows: Vec<s::GroupRow>) {
                    with(|r| rows.iter().for_each(|row| r.nodes.update_group(row)));
                }
                fn remove(rows: Vec<u32>) {
                    with(|r| rows.iter().for_each(|ix| r.nodes.remove(*ix)));
                }
                fn commit(version: u64) {
                    with(|r| r.nodes.commit(version));
                }
            }

            impl evaluate::Guest for Component {
                fn needs() -> s::Interests {
                    <$policy as s::Policy>::INTERESTS
                }
                fn run(pod: s::PodView, want: s::Want, candidates: Vec<u8>) -> s::Evaluation {
                    with(|r| r.run(&pod, want, &candidates))
                }
                fn what_if(pod: s::PodView, node: u32, change: s::Change) -> bool {
                    with(|r| r.what_if(&pod, node, &change))
                }
                fn explain(pod: s::PodView, node: u32) -> Vec<String> {
                    with(|r| r.explain(&pod, node))
                }
            }

            b::export_filter_score!(Component with_types_in b);
        }
    };
}
