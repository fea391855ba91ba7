//! The same limits for every kind of plugin: each law is tested with all five.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use libtest_mimic::Trial;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::case::{Case, End::Limit, only_attempt, receipt, used};
use super::fixture::Fixture;
use super::guests::{Kind, SPIN, times};

pub(super) fn trials(fixture: &Arc<Fixture>) -> Vec<Trial> {
    let cases = Kind::ALL.into_iter().flat_map(cases).map(|case| case.trial(fixture));
    let cancelled = Kind::ALL.into_iter().flat_map(|kind| {
        [("while_it_spins", SPIN.to_owned()), ("while_it_sleeps", kind.sleeps())].map(
            |(when, does)| {
                let name = format!("limits::{}_is_cancelled_{when}", kind.word());
                fixture.trial(&name, move |fixture| async move {
                    is_cancelled(&fixture, kind, &does).await
                })
            },
        )
    });
    cases.chain(cancelled).collect()
}

const FUEL: u64 = 3_000_000;
const OUTPUT: u32 = 100_000;
const MEMORY: u64 = 2 << 20;

/// The number of bytes that [`flood`] writes.
const FLOOD: f64 = 6_000_000.0;

fn cases(kind: Kind) -> Vec<Case> {
    let law = |what: &str, guest| Case::new(format!("limits::{}_{what}", kind.word()), guest);
    let short = json!({ "timeout_ms": 250 });
    let output = json!({ "output_bytes": OUTPUT });
    let memory = json!({ "memory_bytes": MEMORY });
    let flood = times(100, &kind.logs(60_000));
    let grows = "(loop $more (br_if $more (i32.ne (memory.grow (i32.const 1)) (i32.const -1))))";
    let down = "(func $down (result i32) (i32.add (i32.const 1) (call $down)))";
    vec![
        law("that_spins_ends_in_time", kind.guest("", SPIN))
            .under(short.clone())
            .ends(Limit("time")),
        law("that_spins_without_fuel_ends_in_time", kind.guest("", SPIN))
            .under(json!({ "timeout_ms": 250, "fuel": "unlimited" }))
            .ends(Limit("time")),
        law("that_sleeps_ends_in_time", kind.guest("", &kind.sleeps()))
            .under(short)
            .ends(Limit("time")),
        law("that_spins_ends_with_its_fuel", kind.guest("", SPIN))
            .under(json!({ "fuel": FUEL }))
            .ends(Limit("fuel"))
            .and(|attempt| {
                ensure!(used(attempt, "fuel")? == FUEL as f64, "less than the whole fuel");
                Ok(())
            }),
        law("may_use_its_fuel", kind.guest("", &times(100_000, "")))
            .under(json!({ "fuel": FUEL }))
            .and(|attempt| {
                ensure!((100_000.0..FUEL as f64).contains(&used(attempt, "fuel")?));
                Ok(())
            }),
        law("may_leave_as_much_output_as_its_limit", kind.ending("", "", &kind.leaves(OUTPUT)))
            .under(output.clone())
            .and(|attempt| {
                ensure!(used(attempt, "output_bytes")? == f64::from(OUTPUT));
                Ok(())
            }),
        law("may_not_leave_a_byte_more", kind.ending("", "", &kind.leaves(OUTPUT + 1)))
            .under(output)
            .ends(Limit("output"))
            .and(|attempt| {
                ensure!(used(attempt, "output_bytes")? > f64::from(OUTPUT));
                Ok(())
            }),
        law("that_floods_its_log_goes_on", kind.guest("", &flood)).and(|attempt| {
            let kept = used(attempt, "log_bytes")?;
            ensure!(kept == f64::from(256 << 10), "{kept} kept");
            ensure!(kept + used(attempt, "log_dropped_bytes")? == FLOOD, "not all is counted");
            Ok(())
        }),
        law("may_be_refused_memory", kind.guest("", grows)).under(memory.clone()).and(|attempt| {
            let peak = used(attempt, "peak_memory_bytes")?;
            let most = MEMORY as f64;
            ensure!((most - 65_536.0..=most).contains(&peak), "{peak}");
            Ok(())
        }),
        law("that_cannot_do_without_memory_ends", kind.guest("", &format!("{grows} unreachable")))
            .under(memory)
            .ends(Limit("memory")),
        law("that_recurses_without_end_ends", kind.guest(down, "(drop (call $down))"))
            .ends(Limit("stack")),
    ]
}

/// The bound for the end of a cancelled guest, on a machine that is busy with other things.
const SOON: Duration = Duration::from_secs(2);

async fn is_cancelled(fixture: &Fixture, kind: Kind, does: &str) -> anyhow::Result<()> {
    let (host, plugin) = (fixture.host().await?, fixture.name());
    host.accepts(&plugin, kind.guest("", &format!("{} {does}", kind.logs(20)))()?).await?;
    let attack = async {
        let id = host.submit(json!({ "plugin": plugin })).await?;
        heard(fixture, &id).await?;
        let since = Instant::now();
        let cancel = host.request(Method::POST, &format!("/v1/jobs/{id}/cancel"));
        cancel.send().await?.error_for_status()?;
        let job = host.finalized(&id).await?;
        ensure!(since.elapsed() < SOON, "it took {:?}", since.elapsed());
        Ok(job)
    };
    let job: Value = fixture.beside_a_victim(attack).await?;
    let attempt = only_attempt(&job)?;
    ensure!(job["state"] == "cancelled" && attempt["outcome"] == "cancelled", "{job}");
    receipt(&job, attempt)?;
    // The log up to then is kept.
    ensure!(used(attempt, "log_bytes")? == 20.0 && used(attempt, "fuel")? > 0.0, "{attempt}");
    Ok(())
}

/// Returns when the job has written to its log: then the guest is running.
async fn heard(fixture: &Fixture, id: &str) -> anyhow::Result<()> {
    let (host, mut next) =
        (fixture.host().await?, tokio::time::interval(Duration::from_millis(20)));
    let said = async {
        while host.log(id).await?.is_empty() {
            next.tick().await;
        }
        anyhow::Ok(())
    };
    tokio::time::timeout(Duration::from_secs(20), said).await.context("no log")?
}
