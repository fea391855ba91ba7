//! The types of the latest version of the world.
#![allow(missing_docs, reason = "generated; the texts are in the WIT")]

wasmtime::component::bindgen!({
    path: "../guest-sdk/wit",
    world: "job",
    exports: { default: async },
    require_store_data_send: true,
});
