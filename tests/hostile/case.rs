//! A test case: a guest, the limits of its job, and the expected end.

use std::sync::Arc;

use anyhow::{Context as _, ensure};
use libtest_mimic::Trial;
use serde_json::{Value, json};

use super::fixture::Fixture;
use super::guests::Guest;

/// The expected end of an attempt.
#[derive(Debug, Clone, Copy)]
pub(super) enum End {
    Succeeds,
    /// It reaches this limit, which is also the code of its error.
    Limit(&'static str),
    /// It traps with this code.
    Traps(&'static str),
    /// It fails by itself, with this code.
    Fails(&'static str),
}

use End::{Fails, Limit, Succeeds, Traps};

/// By how much an attempt may exceed its time limit, in milliseconds, on a machine that is busy with
/// other things.
const LATE_MS: f64 = 3_000.0;

type Check = Box<dyn FnOnce(&Value) -> anyhow::Result<()> + Send>;

/// A test case.
pub(super) struct Case {
    name: String,
    guest: Guest,
    limits: Value,
    end: End,
    checks: Vec<Check>,
}

impl Case {
    /// A case that succeeds under the default limits.
    pub(super) fn new(name: impl Into<String>, guest: Guest) -> Self {
        Self { name: name.into(), guest, limits: json!({}), end: Succeeds, checks: vec![] }
    }

    /// The limits of its job.
    pub(super) fn under(self, limits: Value) -> Self {
        Self { limits, ..self }
    }

    pub(super) fn ends(self, end: End) -> Self {
        Self { end, ..self }
    }

    /// Adds a check of its attempt.
    pub(super) fn and(
        mut self,
        check: impl FnOnce(&Value) -> anyhow::Result<()> + Send + 'static,
    ) -> Self {
        self.checks.push(Box::new(check));
        self
    }

    pub(super) fn trial(self, fixture: &Arc<Fixture>) -> Trial {
        let name = self.name.clone();
        fixture.trial(&name, |fixture| async move { self.holds(&fixture).await })
    }

    /// Runs the guest at the same time as an ordinary job, and checks its end and its receipt.
    pub(super) async fn holds(self, fixture: &Fixture) -> anyhow::Result<()> {
        let (host, plugin) = (fixture.host().await?, fixture.name());
        host.accepts(&plugin, (self.guest)()?).await?;
        let job = json!({ "plugin": plugin, "limits": self.limits });
        let job = fixture.beside_a_victim(host.run(job)).await?;
        let attempt = only_attempt(&job)?;
        self.end.is(attempt)?;
        receipt(&job, attempt).with_context(|| attempt.to_string())?;
        for check in self.checks {
            check(attempt).with_context(|| attempt.to_string())?;
        }
        Ok(())
    }
}

/// The record of a job's only attempt.
pub(super) fn only_attempt(job: &Value) -> anyhow::Result<&Value> {
    match job["attempts"].as_array().map(Vec::as_slice) {
        Some([attempt]) => Ok(attempt),
        _ => anyhow::bail!("not one attempt: {job}"),
    }
}

impl End {
    /// Checks that `attempt` ended so.
    pub(super) fn is(self, attempt: &Value) -> anyhow::Result<()> {
        let (outcome, limit, code) = match self {
            Succeeds => ("succeeded", Value::Null, Value::Null),
            Limit(limit) => ("limit_exceeded", limit.into(), limit.into()),
            Traps(code) => ("trapped", Value::Null, code.into()),
            Fails(code) => ("failed", Value::Null, code.into()),
        };
        let is = attempt["outcome"] == outcome
            && attempt["limit"] == limit
            && attempt["error"]["code"] == code;
        ensure!(is, "not {self:?}: {attempt}");
        Ok(())
    }
}

/// A field of a receipt that is a number.
pub(super) fn used(attempt: &Value, field: &str) -> anyhow::Result<f64> {
    attempt["usage"][field].as_f64().with_context(|| format!("no {field} in {}", attempt["usage"]))
}

/// Checks that the receipt is complete and within the limits.
pub(super) fn receipt(job: &Value, attempt: &Value) -> anyhow::Result<()> {
    let limits = &job["limits"];
    let number = |field| limits[field].as_f64().with_context(|| format!("a limit {field}"));
    match limits["fuel"].as_f64() {
        // A guest that ended before the counter was saved may show less fuel.
        Some(most) => ensure!((0.0..=most).contains(&used(attempt, "fuel")?), "its fuel"),
        None => ensure!(attempt["usage"]["fuel"].is_null(), "no fuel is counted"),
    }
    let peak = used(attempt, "peak_memory_bytes")?;
    ensure!(peak <= number("memory_bytes")?, "more memory than it may have");
    let whole = used(attempt, "instantiate_ms")? + used(attempt, "run_ms")?;
    ensure!(whole > 0.0 && used(attempt, "cpu_ms")? <= whole + 1.0, "its times");
    let most = number("timeout_ms")?;
    ensure!(whole <= most + LATE_MS, "it ran for {whole} ms");
    let timed_out = attempt["limit"] == "time";
    ensure!(!timed_out || whole >= most - 1.0, "it was stopped after {whole} ms");
    ensure!(used(attempt, "log_bytes")? <= number("log_bytes")?, "more log than is kept");
    for field in ["queue_ms", "compile_ms", "payload_bytes", "output_bytes", "log_dropped_bytes"] {
        used(attempt, field)?;
    }
    Ok(())
}
