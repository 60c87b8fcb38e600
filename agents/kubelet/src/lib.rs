//! Pod workers, volumes, probes, status, node lease, streaming server.
