//! Queue, cache, framework, bind, preemption.
