//! The three environments that a job can run in, behind one interface. The target decides:
//!
//! | target | module | how the host is called |
//! |---|---|---|
//! | `wasm32-wasip1` | `core_module` | stdio, environment, exit code and the imports of `include/jobwright.h` |
//! | `wasm32-wasip2` | `component` | the world `job` of `wit/job.wit` |
//! | native | `native` | there is no host: it is emulated for `cargo run`, and recorded in tests |
//!
//! Each has `Host` with the functions that a job may call, `run` for `main`, and the
//! announcements that [`Link`](crate::link::Link) refers to.

#[cfg(all(target_os = "wasi", target_env = "p2"))]
mod component;
#[cfg(all(target_os = "wasi", target_env = "p1"))]
mod core_module;
#[cfg(not(target_family = "wasm"))]
mod native;

#[cfg(all(target_os = "wasi", target_env = "p2"))]
pub(crate) use component::{Host, announce_failure, announce_later, announce_output_type, run};
#[cfg(all(target_os = "wasi", target_env = "p1"))]
pub(crate) use core_module::{Host, announce_failure, announce_later, announce_output_type, run};
#[cfg(not(target_family = "wasm"))]
pub(crate) use native::{
    Host, Record, announce_failure, announce_later, announce_output_type, run,
};

#[cfg(all(
    target_family = "wasm",
    not(all(target_os = "wasi", any(target_env = "p1", target_env = "p2")))
))]
compile_error!(
    "jobwright-guest is built for wasm32-wasip1 (a core module) or wasm32-wasip2 (a component)"
);
