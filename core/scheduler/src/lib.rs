//! Queue, cache, framework, bind, preemption.
//!
//! The way of a pod: [`queue`] → [`framework::Scheduler::schedule_one`], which writes what changed
//! to the policies, asks them which nodes may run the pod and how good those are, picks one of the
//! best and assumes the pod there → [`effects`], which binds it through the API while the next pod
//! is already being placed. Nothing in this crate says where a pod may run: that is asked of the
//! components behind [`hansa_extension::scheduler::PluginSet`].
//!
//! - [`queue`]: who is next, who waits for time, who for an event.
//! - [`cache`], [`load`]: nodes and what runs on them; [`view`]: objects as the policies see them.
//! - [`framework`]: the decisions; [`preemption`], [`nominations`], [`diagnosis`]: when there is no
//!   room.
//! - [`effects`], [`facts`], [`mod@run`]: the API on both sides.

use std::time::Duration;

pub mod cache;
pub mod diagnosis;
pub mod effects;
pub mod facts;
pub mod framework;
pub mod load;
pub mod metrics;
pub mod nominations;
pub mod pick;
pub mod preemption;
pub mod quantity;
pub mod queue;
pub mod record;
pub mod requests;
pub mod run;
pub mod shipped;
pub mod view;

#[cfg(test)]
mod tests;

pub use metrics::Metrics;
pub use record::{DecisionLog, Record};
pub use run::{Config, Election, run};

/// How long a bound pod stays assumed without a watch that confirms it.
pub const ASSUME_TTL: Duration = Duration::from_secs(300);
/// Preemption looks for at least this many candidate nodes before it chooses, if there are so many.
pub const MIN_CANDIDATES: usize = 100;
