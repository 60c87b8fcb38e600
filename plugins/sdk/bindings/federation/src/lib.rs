//! What wit-bindgen makes of the world `hansa:federation/policy`: a crate of its own, because the
//! export macros of two worlds in one crate would have the same names. Use it through
//! `hansa-plugin-sdk`.
#![allow(clippy::all)]

wit_bindgen::generate!({
    path: "../../../../wit/federation",
    world: "policy",
    generate_all,
    pub_export_macro: true,
    export_macro_name: "export_policy",
    default_bindings_module: "hansa_plugin_sdk::bindings::federation",
    additional_derives: [PartialEq],
});
