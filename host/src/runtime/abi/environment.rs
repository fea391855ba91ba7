//! The environment variables of guests of every kind: those of the job, and facts about the job.

use std::collections::BTreeMap;

use jobwright_core::attempt::Attempt;

/// The variables of the plugin's grants and of the submitter.
pub(super) fn variables(attempt: &Attempt) -> BTreeMap<String, String> {
    attempt.granted.grants.variables_under(&attempt.job.spec.env)
}

/// Facts about the job for every guest, under the names of its variables.
pub(super) fn facts(attempt: &Attempt) -> [(&'static str, String); 9] {
    let job = &attempt.job;
    let (spec, tries) = (&job.spec, job.attempt_counts());
    // As JSON, because a tag may contain any separator.
    let tags = serde_json::to_string(&spec.tags).unwrap_or_default();
    [
        ("JOBWRIGHT_JOB_ID", job.id.to_string()),
        ("JOBWRIGHT_ATTEMPT", tries.attempt.to_string()),
        ("JOBWRIGHT_MAX_ATTEMPTS", tries.last_attempt.to_string()),
        ("JOBWRIGHT_FAILURES", tries.failures.to_string()),
        ("JOBWRIGHT_ATTEMPTS_LEFT", tries.left.to_string()),
        ("JOBWRIGHT_QUEUE", spec.queue.to_string()),
        ("JOBWRIGHT_PLUGIN", format!("{}@{}", spec.plugin, spec.version)),
        ("JOBWRIGHT_CREATED_AT_MS", job.created_at.as_millisecond().to_string()),
        ("JOBWRIGHT_TAGS", tags),
    ]
}
