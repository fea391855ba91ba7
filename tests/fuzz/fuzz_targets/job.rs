//! Jobs: one as JSON, many, and one whose options are in the query.

#![no_main]

use std::sync::LazyLock;

use jobwright_fuzz::Host;
use libfuzzer_sys::fuzz_target;

static HOST: LazyLock<Host> = LazyLock::new(|| {
    let host = Host::new().expect("a host");
    host.install("p", r#"(module (func (export "_start")))"#).expect("a plugin");
    host
});

fuzz_target!(|bytes: &[u8]| {
    let Some((kind, rest)) = bytes.split_first() else { return };
    match kind % 4 {
        0 => HOST.ask("POST", "/v1/jobs", rest),
        1 => HOST.ask("POST", "/v1/jobs/batch", rest),
        2 => {
            let query = String::from_utf8_lossy(rest);
            HOST.ask("POST", &format!("/v1/jobs?plugin=p&{query}"), b"payload")
        }
        _ => HOST.ask("PATCH", "/v1/plugins/p", rest),
    };
});
