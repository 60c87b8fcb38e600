//! What every client of the API server needs: informers with one shared reflector per kind, a
//! workqueue by key, workers, leader election and an event recorder.
//!
//! Built on [`kube`], which this crate re-exports and alone depends on. A component is handed a
//! ready [`kube::Client`]: over TLS from a kubeconfig, or in process in the all-in-one binary.

pub use kube;
pub use kube::Client;
pub use kube::runtime::events::{Event, EventType, Reporter};

mod informer;
mod informers;
mod key;
mod leader;
mod message;
mod recorder;
mod workers;
mod workqueue;

pub use informer::{Change, Informer};
pub use informers::Informers;
pub use key::ObjectKey;
pub use leader::{LeaderElector, LeaseTimes};
pub use message::message_of;
pub use recorder::Recorder;
pub use workers::{Requeue, run_workers};
pub use workqueue::Workqueue;
