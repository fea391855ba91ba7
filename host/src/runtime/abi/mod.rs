//! The kinds of plugins: one file for each kind.
//!
//! | file | plugin |
//! |---|---|
//! | [`command_p1`] | core module that exports `_start` |
//! | [`command_p2`] | component that exports `wasi:cli/run` |
//! | [`http`] | component that exports `wasi:http/incoming-handler` |
//! | [`mod@job`] | component that exports `jobwright:job/run` |
//! | [`extism`] | core module that imports `extism:host/env` |
//! | [`wasi`], [`preview1`], [`environment`] | WASI for all kinds |
//! | [`prepared`], [`call`] | linked code, and one call of it |
//! | [`offer`], [`versions`], [`fit`] | the imports of guests, their versions, and the check that a guest can be called |
//!
//! Each kind links its host functions (`link`), prepares compiled code (`new`), and runs a guest
//! from its instantiation to its end (`run`). A new kind is a file here, a variant of
//! [`Prepared`](prepared::Prepared) and of [`Abi`](jobwright_core::plugin::Abi), and a line where
//! its bytes are recognised: [`offer::of_component`], or `Outline::abi` of `inspect` and
//! [`Prepared::new`](prepared::Prepared::new) for core modules. A kind handles no limits, receipts
//! or outcomes: every call of a guest goes through the meter and the `wasmtime::Store` of its
//! [`Call`](call::Call), which enforce the limits.

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
