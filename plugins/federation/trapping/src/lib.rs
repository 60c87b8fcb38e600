//! A placement policy that misbehaves, in the way that its settings say: for the tests of the host
//! and for showing that a bad policy is fenced off.
//!
//! Settings: `{"at": …}` with `decision` (the default: passes every check, traps on its first
//! decision), `configure`, `validate`, `loop` (never returns from a decision), `loop-configure`,
//! `memory` (wants all there is), `version`, `length`, `score`, `stranger` (answers that cannot be
//! true), `shares` (divides more than there is), `second` (traps on its second decision).
#![cfg(target_arch = "wasm32")]
#![allow(unsafe_code)]

use std::cell::{Cell, RefCell};

use hansa_plugin_sdk::Settings;
use hansa_plugin_sdk::bindings::federation as b;
use hansa_plugin_sdk::bindings::federation::exports::hansa::core::lifecycle;
use hansa_plugin_sdk::bindings::federation::exports::hansa::federation::{
    cluster_store, divide, select,
};
use hansa_plugin_sdk::bindings::federation::hansa::core::types::{Code, Failure};
use hansa_plugin_sdk::federation::{
    ClusterRow, Division, Evaluation, Label, Placement, Share, Taint,
};
use hansa_plugin_sdk::serde_json::Value;

thread_local! {
    static AT: RefCell<String> = const { RefCell::new(String::new()) };
    static SLOTS: Cell<usize> = const { Cell::new(0) };
    static VERSION: Cell<u64> = const { Cell::new(0) };
    static DECISIONS: Cell<u32> = const { Cell::new(0) };
}

struct Component;

fn at(settings: &[u8]) -> String {
    let document: Value = Settings::new(settings.to_vec()).read().unwrap_or_default();
    document["at"].as_str().unwrap_or("decision").to_owned()
}

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

impl lifecycle::Guest for Component {
    fn describe() -> lifecycle::Descriptor {
        lifecycle::Descriptor {
            name: "trapping".into(),
            version: env!("CARGO_PKG_VERSION").into(),
            settings_schema: Vec::new(),
            state_schema: 0,
        }
    }

    fn validate_settings(settings: Vec<u8>) -> Result<Vec<String>, Vec<String>> {
        match at(&settings).as_str() {
            "validate" => Err(vec!["these settings are never good".into()]),
            _ => Ok(Vec::new()),
        }
    }

    fn configure(settings: Vec<u8>) -> Result<(), Failure> {
        hansa_plugin_sdk::host::log_panics();
        let at = at(&settings);
        match at.as_str() {
            "configure" => trap(),
            "loop-configure" => spin(),
            "refuse" => Err(Failure {
                code: Code::Invalid,
                message: "refused".into(),
                retry_after_ms: 0,
                ext: Vec::new(),
            }),
            _ => {
                AT.set(at);
                Ok(())
            }
        }
    }
}

impl cluster_store::Guest for Component {
    fn reset(capacity: u32) {
        SLOTS.set(capacity as usize);
    }
    fn define_symbols(_first: u32, _text: Vec<String>) {}
    fn define_label_set(_id: u32, _members: Vec<Label>) {}
    fn define_taint_set(_id: u32, _members: Vec<Taint>) {}
    fn upsert(rows: Vec<ClusterRow>) {
        let most = rows.iter().map(|row| row.ix as usize + 1).max().unwrap_or(0);
        SLOTS.set(SLOTS.get().max(most));
    }
    fn remove(_rows: Vec<u32>) {}
    fn commit(version: u64) {
        VERSION.set(version);
    }
}

impl select::Guest for Component {
    fn run(_p: Placement) -> Evaluation {
        DECISIONS.set(DECISIONS.get() + 1);
        if is("decision") || (is("second") && DECISIONS.get() > 1) {
            trap();
        }
        if is("loop") {
            spin();
        }
        if is("memory") {
            eat();
        }
        let slots = SLOTS.get() + usize::from(is("length"));
        let mut feasible = vec![0u8; slots.div_ceil(8)];
        (0..slots).for_each(|ix| feasible[ix / 8] |= 1 << (ix % 8));
        if is("stranger") {
            feasible.iter_mut().for_each(|byte| *byte = 0xff);
        }
        Evaluation {
            version: VERSION.get() + u64::from(is("version")),
            feasible,
            reasons: Vec::new(),
            legend: Vec::new(),
            scores: vec![if is("score") { 101 } else { 50 }; slots],
        }
    }
}

impl divide::Guest for Component {
    fn run(p: Placement, candidates: Vec<u32>, _: Vec<u8>, _: Vec<u32>) -> Division {
        if is("shares") {
            let cluster = candidates.first().copied().unwrap_or(0);
            return Division::Replicas(vec![Share { cluster, replicas: p.replicas + 1 }]);
        }
        Division::ByPolicy
    }
}

b::export_policy!(Component with_types_in b);
