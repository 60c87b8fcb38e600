//! An admission policy that misbehaves, in the way that its settings say: for the tests of the host
//! and for showing that a bad policy is fenced off.
//!
//! Settings: `{"at": …}` with `decision` (the default: passes every check, traps on its first
//! decision), `second` (traps on its second), `marked` (traps on objects that contain the word
//! `trap`, those that go away too), `loop` (never returns from a decision), `memory` (wants all
//! there is), `recurse` (wants all the stack), `patch`, `object` (answers that cannot be true),
//! `nothing` (wants to be asked nothing).
#![cfg(target_arch = "wasm32")]
#![allow(unsafe_code)]

use std::cell::{Cell, RefCell};

use hansa_plugin_sdk::Settings;
use hansa_plugin_sdk::admission::{
    Change, Interests, Mutation, Request, Verdict, allow, unchanged,
};
use hansa_plugin_sdk::bindings::admission as b;
use hansa_plugin_sdk::bindings::admission::exports::hansa::admission::review;
use hansa_plugin_sdk::bindings::admission::exports::hansa::core::lifecycle;
use hansa_plugin_sdk::bindings::admission::hansa::core::types::Failure;
use hansa_plugin_sdk::serde_json::Value;

thread_local! {
    static AT: RefCell<String> = const { RefCell::new(String::new()) };
    static DECISIONS: Cell<u32> = const { Cell::new(0) };
}

struct Component;

fn is(what: &str) -> bool {
    AT.with_borrow(|at| at == what)
}

fn trap() -> ! {
    panic!("this policy traps on purpose")
}

fn spin() -> ! {
    loop {
        std::hint::spin_loop();
    }
}

fn eat() -> ! {
    let mut kept = Vec::new();
    loop {
        kept.push(std::hint::black_box(vec![1u8; 1 << 20]));
    }
}

fn recurse(depth: u64) -> u64 {
    match std::hint::black_box(depth) {
        u64::MAX => 0,
        depth => recurse(depth + 1) + std::hint::black_box(depth),
    }
}

fn misbehave(request: &Request) {
    DECISIONS.set(DECISIONS.get() + 1);
    let object = request.object.as_deref().or(request.old_object.as_deref()).unwrap_or_default();
    let marked = || object.windows(4).any(|word| word == b"trap");
    if is("decision") || (is("second") && DECISIONS.get() > 1) || (is("marked") && marked()) {
        trap();
    }
    if is("loop") {
        spin();
    }
    if is("memory") {
        eat();
    }
    if is("recurse") {
        std::hint::black_box(recurse(0));
    }
}

impl lifecycle::Guest for Component {
    fn describe() -> lifecycle::Descriptor {
        lifecycle::Descriptor {
            name: "trapping".into(),
            version: env!("CARGO_PKG_VERSION").into(),
            settings_schema: Vec::new(),
            state_schema: 0,
        }
    }

    fn validate_settings(_settings: Vec<u8>) -> Result<Vec<String>, Vec<String>> {
        Ok(Vec::new())
    }

    fn configure(settings: Vec<u8>) -> Result<(), Failure> {
        hansa_plugin_sdk::host::log_panics();
        let document: Value = Settings::new(settings).read().unwrap_or_default();
        AT.set(document["at"].as_str().unwrap_or("decision").to_owned());
        Ok(())
    }
}

impl review::Guest for Component {
    fn needs() -> Interests {
        let mutates = is("patch") || is("object");
        Interests { mutates, validates: !mutates && !is("nothing"), old_object: false }
    }

    fn mutate(request: Request) -> Mutation {
        misbehave(&request);
        let change = match is("patch") {
            true => Change::Patch(b"[{\"op\": \"remove\", \"path\": \"/nowhere\"}]".to_vec()),
            false => Change::Replace(b"no object".to_vec()),
        };
        Mutation { change, ..unchanged(allow()) }
    }

    fn validate(request: Request) -> Verdict {
        misbehave(&request);
        allow()
    }
}

b::export_policy!(Component with_types_in b);
