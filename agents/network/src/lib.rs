//! The pod network: CNI calls, overlay, routes.
