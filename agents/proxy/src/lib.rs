//! Services and EndpointSlices to pure rules to a proxy backend.
