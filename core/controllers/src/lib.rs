//! One module per controller: pure plan, thin reconcile.
