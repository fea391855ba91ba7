//! `jobwright replay`: repeats a recorded attempt on this machine, in the same sandbox, and compares it
//! with the record.

mod cut_off;
mod differences;
mod recorded;

use std::future::pending;
use std::io::{self, Write};

use jobwright_core::attempt::AttemptRecord;
use jobwright_core::job::JobIdPrefix;
use jobwright_core::limits::{Limit, Limits};
use jobwright_core::runtime::Ended;
use serde_json::json;

use self::cut_off::{CutOff, cut_off};
use self::differences::{Difference, differences};
use self::recorded::RecordedJob;
use super::attempt::{AttemptResult, LocalAttempt};
use super::client::Client;
use super::exit::{Ending, Fault};
use super::options::StackOptions;
use super::sandbox::Sandbox;
use super::signals::Signals;
use super::terminal::{Terminal, printable};

#[derive(Debug, clap::Args)]
#[group(skip)]
pub(super) struct Replay {
    /// The id of the job, or the beginning of it.
    id: JobIdPrefix,
    /// The number of the attempt [default: the latest that has ended].
    #[arg(long, value_name = "N")]
    attempt: Option<u32>,
    #[command(flatten)]
    stack: StackOptions,
}

impl Replay {
    pub(super) async fn execute(
        self,
        client: &Client,
        terminal: &Terminal,
    ) -> anyhow::Result<Ending> {
        let mut signals = Signals::listen()?;
        // Dropping the comparison removes its temporary folders.
        tokio::select! {
            ending = self.compare(client, terminal) => ending,
            () = signals.stopped() => {
                Err(Fault::Stopped.failure("stopped: nothing was compared").into())
            }
        }
    }

    async fn compare(&self, client: &Client, terminal: &Terminal) -> anyhow::Result<Ending> {
        let job = RecordedJob::read(client, &self.id).await?;
        let record = job.ended(self.attempt)?.clone();
        let start = record.start.ok_or_else(|| job.unknown_start(&record))?;
        let wasm = job.wasm(client).await?;
        let payload = job.payload(client).await?;
        let output = job.output(client, &record).await?;
        // The host is not trusted: the limits of this machine apply.
        let limits = job.limits_of(&record).under(&Limits::CEILING);
        let sandbox = Sandbox::open(self.stack)?;
        let repeated = job.at(&record, limits)?;
        sandbox.publish(repeated.spec.plugin.clone(), wasm).await?;
        let attempt = LocalAttempt { job: repeated, start, payload, granting: None };
        let made = AttemptResult::run(&sandbox, attempt, pending::<()>()).await;
        let found = differences(&record, &limits, output.as_ref(), made.ended());
        let notes = notes(&job, &record, made.ended(), &found);
        let compared = Compared { notes, job, record, found };
        compared.show(&made, terminal)?;
        Ok(if compared.found.is_empty() { Ending::Done } else { Ending::Different })
    }
}

/// Remarks on a comparison.
fn notes(
    job: &RecordedJob,
    record: &AttemptRecord,
    ended: &Ended,
    found: &[Difference],
) -> Vec<&'static str> {
    let limits = job.limits_of(record);
    let cut_off = cut_off(record, &limits);
    let is_withdrawn = record.start.is_some_and(|start| start.determinism_withdrawn);
    let is_deterministic = job.deterministic && !is_withdrawn;
    let stacks = [record.limit, ended.outcome.limit()];
    let all = [
        (record.resumed, RESUMED),
        (record.granted, GRANTED),
        (cut_off == Some(CutOff::Cancelled), STOPPED),
        (cut_off == Some(CutOff::HostFailed), BROKEN),
        (cut_off == Some(CutOff::TimedOut), LATE),
        (stacks.contains(&Some(Limit::Stack)), STACK),
        (limits.under(&Limits::CEILING) != limits, CEILING),
        (!is_deterministic && !found.is_empty(), FREE),
    ];
    all.into_iter().filter(|(applies, _)| *applies).map(|(_, note)| note).collect()
}

const RESUMED: &str =
    "the recorded attempt resumed from a checkpoint, which is not kept: the replay had none";
const GRANTED: &str =
    "the attempt had grants: the replay had none, and none of their configuration and variables";
const STOPPED: &str =
    "the recorded attempt was cancelled, or interrupted by its host: the replay was not";
const BROKEN: &str = "the recorded attempt was ended by its host or its process, not by the guest: the replay \
                      was not";
const LATE: &str = "the recorded attempt ended at its time limit: its fuel is not compared";
const STACK: &str = "an attempt ended at the stack limit, which is a setting of the host and is not recorded: \
                     if the host has another one (`stack_bytes`), give it with --stack-bytes";
const CEILING: &str =
    "the attempt had limits above the default ceilings: the replay had the ceilings";
const FREE: &str =
    "the attempt is not deterministic: results that depend on timing can differ each time";

/// The result of a comparison.
struct Compared {
    job: RecordedJob,
    record: AttemptRecord,
    found: Vec<Difference>,
    notes: Vec<&'static str>,
}

impl Compared {
    /// Prints the attempt as `jobwright run` does, and the comparison with the receipt.
    fn show(&self, made: &AttemptResult, terminal: &Terminal) -> io::Result<()> {
        made.write_log()?;
        if terminal.is_json() {
            let mut receipt = made.receipt();
            receipt["replay"] = json!({
                "job": self.job.id, "attempt": self.record.attempt, "same": self.found.is_empty(),
                "differences": self.found, "notes": self.notes,
            });
            writeln!(io::stderr(), "{receipt}")?;
        } else {
            let mut out = io::stderr().lock();
            made.write_receipt(&mut out)?;
            self.write(&mut out)?;
        }
        made.write_output()
    }

    fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        let (number, id) = (self.record.attempt, self.job.id);
        if self.found.is_empty() {
            writeln!(out, "the same as attempt {number} of job {id}")?;
        } else {
            writeln!(out, "different from attempt {number} of job {id}:")?;
        }
        for Difference { what, recorded, replayed } in &self.found {
            let (recorded, replayed) = (printable(recorded), printable(replayed));
            writeln!(out, "  {what:<13} was {recorded}\n  {:<13} is  {replayed}", "")?;
        }
        self.notes.iter().try_for_each(|note| writeln!(out, "note: {note}"))
    }
}
