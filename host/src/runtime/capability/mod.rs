//! Host functions in addition to WASI: log lines, progress, cancellation, checkpoints, and the
//! capabilities that a plugin was granted. They behave the same for every kind of plugin that has
//! them.
//!
//! | file | offers |
//! |---|---|
//! | [`channel`] | one attempt's channel to its host, for all kinds |
//! | [`imports`] | all of it to core modules, as functions of the module `jobwright` |
//! | [`request_json`] | HTTP requests as JSON |
//! | `abi::job` | what needs no grant to components of the world `jobwright:job` |
//! | [`key_value`] | values that a plugin keeps to components, as `wasi:keyvalue` |
//! | [`config`] | what the operator configured to components, as `wasi:config` |

pub(super) mod channel;
pub(super) mod config;
pub(super) mod imports;
pub(super) mod key_value;
pub(super) mod request_json;
