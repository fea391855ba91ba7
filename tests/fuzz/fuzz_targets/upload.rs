//! Uploads: inspection, and compilation of accepted plugins.

#![no_main]

use std::sync::LazyLock;

use jobwright_fuzz::Host;
use libfuzzer_sys::fuzz_target;

static HOST: LazyLock<Host> = LazyLock::new(|| Host::new().expect("a host"));

fuzz_target!(|wasm: &[u8]| {
    HOST.ask("PUT", "/v1/plugins/fuzz", wasm);
    HOST.ask("DELETE", "/v1/plugins/fuzz", b"");
});
