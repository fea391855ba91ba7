//! The imports between the parts of the host, which are the modules beside `lib.rs`.

use std::collections::BTreeSet;

use super::imports::{self, Imports};
use super::root;

/// Which part of the host may import from which other, and why. `lib` composes the host of all parts, so its
/// imports need no reason.
const EDGES: &[(&str, &str, &str)] = &[
    ("api", "detached", "a change continues when its client disconnects"),
    ("api", "events", "each request that waits has a connection, so their maximum numbers agree"),
    ("api", "intake", "jobs are accepted there, whatever the request is"),
    ("api", "parts", "handlers use the stores, the registry and the runtime"),
    ("api", "privacy", "other users of the machine must not be able to read the file of keys"),
    ("api", "shares", "each tenant has a share of the budgets of requests"),
    ("api", "telemetry", "refused requests and administrative actions are logged for operators"),
    ("cli", "api", "grants in flags are checked as those in requests are"),
    ("cli", "clock", "commands show ages, and run guests, by the wall clock"),
    ("cli", "config", "flags override the configuration, whose defaults commands share"),
    ("cli", "lib", "`serve` runs a host"),
    ("cli", "privacy", "temporary files and values of secrets are of no concern to other users"),
    ("cli", "registry", "a sandbox without a host has a registry in a temporary folder"),
    ("cli", "runtime", "`run`, `dev` and `replay` run guests in this process"),
    ("cli", "services", "guests that run without a host have the same host services"),
    ("cli", "telemetry", "commands write the same log as a host"),
    ("cli", "tls", "clients trust the certificates that hosts trust"),
    ("data_dir", "privacy", "only its owner may enter the data directory"),
    ("dispatch", "controls", "an attempt does not begin while its plugin is disabled"),
    ("dispatch", "events", "the claim loop is woken when there may be work"),
    ("dispatch", "parts", "it claims from the store and runs in the runtime"),
    ("dispatch", "telemetry", "refused attempts are logged for operators"),
    ("events", "shares", "each tenant has a share of the requests that wait"),
    ("intake", "detached", "jobs are enqueued even if their client disconnects"),
    ("intake", "disk", "jobs are refused while there is less free space than the floor"),
    ("intake", "events", "a submitter is refused if too many wait for room"),
    (
        "intake",
        "parts",
        "a draft is checked by the registry and the controls, and enqueued in the store",
    ),
    ("parts", "controls", "they are a subscriber that several parts use"),
    ("parts", "events", "wake-ups are a subscriber that several parts use"),
    ("registry", "clock", "compiled code that was not used for long is removed first"),
    ("registry", "data_dir", "its files are replaced atomically"),
    ("registry", "disk", "compiled code is not kept on a disk that is short of space"),
    ("registry", "privacy", "compiled code that others could write must not be run"),
    ("runtime", "clock", "attempts are measured by the monotonic clock"),
    (
        "runtime",
        "registry",
        "it runs compiled code, which the registry keeps and the compiler makes",
    ),
    ("runtime", "shares", "each tenant has a share of compilations"),
    ("services", "data_dir", "secrets and values are files of the data directory"),
    ("services", "disk", "values are refused while there is less free space than the floor"),
    ("services", "privacy", "other users of the machine must not be able to read secrets"),
    ("services", "shares", "each tenant has a share of requests, bodies and reads of guests"),
    ("services", "sqlite", "the values of guests are in an embedded database"),
    ("services", "telemetry", "refused requests of guests are logged for operators"),
    ("services", "tls", "guests trust the certificates that hosts trust"),
    ("sqlite", "clock", "it tries again after a time when the disk was full"),
    ("sqlite", "disk", "a file is vacuumed only where there is space for it"),
    ("store", "data_dir", "it notes that the directory had keys, whose loss then is an error"),
    ("store", "disk", "less is kept on a disk that is short of space"),
    ("store", "sqlite", "the embedded stores are databases of this engine"),
    ("store", "telemetry", "a damaged store is reported in the log"),
    ("telemetry", "clock", "an event is logged at most once a minute for each reason"),
];

/// The imports between the parts of the host.
pub(super) fn of_host() -> anyhow::Result<Imports> {
    Ok(imports::between_parts(&imports::of_files(&root().join("host/src"))?))
}

/// Imports that have no reason, and reasons of imports that there are not.
pub(super) fn faults(found: &Imports) -> Vec<String> {
    let found = found.iter().filter(|(part, _)| *part != "lib");
    let found: BTreeSet<(&str, &str)> =
        found.flat_map(|(part, used)| used.iter().map(|used| (&**part, &**used))).collect();
    let allowed: BTreeSet<(&str, &str)> =
        EDGES.iter().map(|(part, used, _)| (*part, *used)).collect();
    let unexplained = found.difference(&allowed);
    let unexplained =
        unexplained.map(|(part, used)| format!("`{part}` uses `{used}`, which has no reason here"));
    let unused = allowed.difference(&found);
    let unused = unused.map(|(part, used)| format!("`{part}` does not use `{used}` any more"));
    let silent = EDGES.iter().filter(|(_, _, reason)| reason.is_empty());
    let silent = silent.map(|(part, used, _)| format!("why does `{part}` use `{used}`?"));
    unexplained.chain(unused).chain(silent).collect()
}
