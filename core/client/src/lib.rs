//! Client, reflector, informer, workqueue, leader election, event recorder.
