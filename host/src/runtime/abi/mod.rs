//! How plugins are called: one file for each kind.
//!
//! | file | plugin |
//! |---|---|
//! | [`command_p1`] | core module that exports `_start` |
//! | [`command_p2`] | component that exports `wasi:cli/run` |
//! | [`http`] | component that exports `wasi:http/incoming-handler` |
//! | [`mod@job`] | component that exports `jobwright:job/run` |
//! | [`extism`] | core module that imports `extism:host/env` |
//! | [`wasi`], [`preview1`], [`environment`] | what all of them see of WASI |
//! | [`prepared`], [`call`] | code that is ready to be called, and one call of it |
//! | [`offer`], [`versions`], [`fit`] | what guests can import, in which versions; whether they can be called |
//!
//! Each kind offers its host functions to guests (`link`), makes compiled code ready (`new`), and runs a
//! guest from its instantiation to its end (`run`). A new kind is a file here, a variant of
//! [`Prepared`](prepared::Prepared) and of [`Abi`](jobwright_core::plugin::Abi), and a line where its bytes
//! are recognised: [`offer::of_component`], or `Outline::abi` of `inspect` and
//! [`Prepared::new`](prepared::Prepared::new) for core modules. A kind handles no limits, no receipt and no
//! meaning of endings: everything that a guest does goes through the meter and the `wasmtime::Store` of its
//! [`Call`](call::Call), which are armed.

pub(super) mod call;
pub(super) mod command_p1;
pub(super) mod command_p2;
mod environment;
pub(super) mod extism;
pub(super) mod fit;
pub(super) mod http;
pub(super) mod job;
pub(super) mod offer;
pub(super) mod prepared;
mod preview1;
pub(super) mod versions;
mod wasi;
