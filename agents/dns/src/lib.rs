//! Services and EndpointSlices to records to a DNS server.
