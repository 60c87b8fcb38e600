//! What every process needs: logging, metrics, admin endpoint, config, signals, start order.
