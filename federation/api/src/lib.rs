//! Federation kinds and pure matching, placement, division, overriding, aggregation.
