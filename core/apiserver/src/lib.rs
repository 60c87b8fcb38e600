//! HTTP in, objects out: filters, handlers, registry, admission, discovery, OpenAPI.
