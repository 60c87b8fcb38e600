//! The federation's kinds, and its rules as pure functions: matching, placement, division,
//! overriding, retention, aggregation, failover.

pub mod affinity;
pub mod aggregation;
pub mod capacity;
pub mod crds;
pub mod decision;
pub mod division;
pub mod failover;
pub mod health;
pub mod interpreter;
pub mod kinds;
pub mod manifest;
pub mod matching;
pub mod names;
pub mod overriding;
pub mod placement;
pub mod pods;
pub mod retention;
#[cfg(test)]
mod testing;
