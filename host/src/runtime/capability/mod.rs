//! What a guest may tell its host and ask of it, beside WASI: log lines, progress, whether it should
//! end, and its checkpoint; and what was granted it. The same for every kind of plugin that has words
//! for it.
//!
//! | file | offers |
//! |---|---|
//! | [`channel`] | one attempt's channel to its host, for all kinds |
//! | [`imports`] | all of it to core modules, as plain functions of the module `jobwright` |
//! | [`request_json`] | HTTP requests as JSON |
//! | `abi::job` | what needs no grant to components of the world `jobwright:job` |
//! | [`key_value`] | values that a plugin keeps to components, as `wasi:keyvalue` |
//! | [`config`] | what the operator configured to components, as `wasi:config` |

pub(super) mod channel;
pub(super) mod config;
pub(super) mod imports;
pub(super) mod key_value;
pub(super) mod request_json;
