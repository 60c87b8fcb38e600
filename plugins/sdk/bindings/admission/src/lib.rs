//! What wit-bindgen makes of the world `hansa:admission/policy`: a crate of its own, because the
//! export macros of two worlds in one crate would have the same names. Use it through
//! `hansa-plugin-sdk`.
#![allow(clippy::all)]

wit_bindgen::generate!({
    path: "../../../../wit/admission",
    world: "policy",
    generate_all,
    pub_export_macro: true,
    export_macro_name: "export_policy",
    default_bindings_module: "hansa_plugin_sdk::bindings::admission",
    additional_derives: [PartialEq],
});
