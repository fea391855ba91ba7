//! The codes of problems: clients compare them, so a change of this list is a change of the interface.

use std::collections::BTreeSet;

use anyhow::ensure;
use insta::assert_snapshot;
use jobwright::api::ProblemCode;
use jobwright_tests::tests;
use libtest_mimic::Trial;

pub(super) fn trials() -> Vec<Trial> {
    tests![problem_codes_are_stable, every_problem_code_is_documented_with_its_status]
}

/// All codes with their statuses, as clients see them.
fn codes() -> BTreeSet<String> {
    ProblemCode::all().map(|code| format!("{} {}", code.status().as_u16(), code.as_str())).collect()
}

async fn problem_codes_are_stable() -> anyhow::Result<()> {
    let codes: Vec<String> = codes().into_iter().collect();
    assert_snapshot!(codes.join("\n"), @r"
    400 batch_too_long
    400 broken_body
    400 invalid_digest
    400 invalid_idempotency_key
    400 invalid_job_id
    400 invalid_json
    400 invalid_name
    400 invalid_path
    400 invalid_query
    400 invalid_version
    400 invalid_wait
    400 several_hosts
    400 two_payloads
    400 unexpected_body
    401 unauthorized
    403 disabled
    403 disabled_by_operator
    403 foreign_host
    403 foreign_origin
    403 other_tenant
    403 scope_missing
    404 attempt_not_found
    404 job_not_found
    404 key_not_found
    404 no_output
    404 no_such_route
    404 plugin_not_found
    404 secret_not_found
    404 tenant_not_found
    404 version_not_found
    405 method_not_allowed
    408 body_timeout
    409 already_finalized
    409 already_running
    409 ambiguous_job_id
    409 default_tenant
    409 disabled
    409 first_key
    409 last_key
    409 plugin_in_use
    409 tenant_in_use
    409 too_many_disabled
    409 too_many_keys
    409 too_many_queues
    409 too_many_tenants
    409 version_taken
    413 too_large
    415 not_wasm
    415 unsupported_encoding
    422 compile_timeout
    422 component_argument
    422 idempotency_key_reused
    422 invalid_fields
    422 invalid_wasm
    422 memory_over_ceiling
    422 needs_feature
    422 no_entry_point
    422 plugin_unusable
    422 table_over_ceiling
    422 too_deep
    422 too_many_instances
    422 too_many_memories
    422 too_many_tables
    422 unknown_import
    422 wasi_version
    422 wit_package
    422 world_version
    429 tenant_full
    429 too_fast
    500 internal
    503 busy
    503 disk_low
    503 parked_full
    503 queue_full
    503 store_unavailable
    507 disk_full
    507 registry_full
    507 too_many_secrets
    ");
    Ok(())
}

async fn every_problem_code_is_documented_with_its_status() -> anyhow::Result<()> {
    let documented: BTreeSet<String> = super::table(super::HTTP, "## Problem codes")
        .flat_map(|row| {
            let codes = row[1].split('`').skip(1).step_by(2);
            codes.map(move |code| format!("{} {code}", row[0]))
        })
        .collect();
    let codes = codes();
    let missing: Vec<_> = codes.difference(&documented).collect();
    let gone: Vec<_> = documented.difference(&codes).collect();
    ensure!(missing.is_empty() && gone.is_empty(), "missing: {missing:?}; no code: {gone:?}");
    Ok(())
}
