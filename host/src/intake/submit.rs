//! Accepts submissions: the only way to create a job. The documentation of the [module](super) has
//! the order of the checks.

use std::time::Duration;

use jobwright_core::clock::{Timestamp, after};
use jobwright_core::job::{JobSpec, NewJob};
use jobwright_core::store::Enqueued;
use jobwright_core::tenant::TenantName;

use super::answers::Answers;
use super::checks::{Checks, IntakeSettings};
use super::draft::JobDraft;
use super::plugin_locks::{Accepting, PluginLocks};
use super::refused::Refused;
use super::submission::{Accepted, Answer, Order, RequestKey, Submission, Submitter};
use crate::detached;
use crate::parts::{Parts, Subscribers};

/// The interval at which a submitter that waits for room retries without a wake-up.
const ROOM_POLL: Duration = Duration::from_millis(100);

/// Accepts jobs.
pub struct Intake {
    checks: Checks,
    /// Locks between changes of plugins and submissions that need them.
    pub plugins: PluginLocks,
}

/// A draft whose key, if it has one, is new.
struct Entry {
    /// Its place among the answers.
    at: usize,
    draft: JobDraft,
    key: Option<RequestKey>,
}

/// A job that passed all checks except the room in its queue.
struct Checked {
    at: usize,
    job: NewJob,
    key: Option<RequestKey>,
}

/// Jobs that are about to be enqueued, with locks that keep their plugins installed.
struct Round {
    jobs: Vec<Checked>,
    stays: Accepting,
    now: Timestamp,
}

impl Intake {
    /// Accepts jobs with these parts.
    #[must_use]
    pub fn new(parts: Parts, subscribers: Subscribers, settings: IntakeSettings) -> Self {
        let checks = Checks::new(parts, subscribers, settings);
        Self { checks, plugins: PluginLocks::default() }
    }

    /// Accepts or refuses each job, and returns the answers in the order of the jobs.
    ///
    /// # Errors
    /// If all are refused for a reason that does not depend on the jobs: they can be submitted
    /// again unchanged.
    pub async fn submit(
        &self,
        order: &Order<'_>,
        submissions: Vec<Submission>,
    ) -> Result<Vec<Answer>, Refused> {
        let now = self.checks.parts.jobs.clock.now();
        let mut answers = Answers::of(submissions.len());
        let entries = self.unless_repeated(order, submissions, &mut answers).await;
        let names = entries.iter().map(|entry| &entry.draft.plugin.name).collect();
        let stays = self.plugins.accepting(order.by.tenant(), names).await;
        let mut plugins = self.checks.plugins(order.by.tenant());
        let mut jobs = Vec::with_capacity(entries.len());
        for Entry { at, draft, key } in entries {
            match self.checks.job(order.by, draft, &mut plugins, now).await {
                Ok(job) => jobs.push(Checked { at, job, key }),
                Err(refused @ Refused::Store(_)) => return Err(refused),
                Err(refused) => answers.set(at, Err(refused)),
            }
        }
        if jobs.is_empty() {
            return Ok(answers.finish());
        }
        order.by.still_admitted()?;
        if let Err(refused) = self.disk_and_pace(order.by.tenant(), jobs.len(), now).await {
            if !answers.have_repetitions() {
                return Err(refused);
            }
            jobs.drain(..).for_each(|job| answers.set(job.at, Err(refused.clone())));
        }
        self.enqueue(order, Round { jobs, stays, now }, &mut answers).await?;
        Ok(answers.finish())
    }

    /// Checks whether a job that was accepted before may run again, in the same order, without the
    /// room in its queue. Its plugin stays installed until the result is dropped.
    ///
    /// # Errors
    /// Why not.
    pub async fn resubmit(&self, by: &dyn Submitter, spec: &JobSpec) -> Result<Accepting, Refused> {
        let stays = self.plugins.accepting(&spec.tenant, [&spec.plugin].into()).await;
        self.checks.runnable(spec, &mut self.checks.plugins(&spec.tenant)).await?;
        by.still_admitted()?;
        self.disk_and_pace(&spec.tenant, 1, self.checks.parts.jobs.clock.now()).await?;
        Ok(stays)
    }

    /// The submissions whose keys are new; the others are answered.
    async fn unless_repeated(
        &self,
        order: &Order<'_>,
        submissions: Vec<Submission>,
        answers: &mut Answers,
    ) -> Vec<Entry> {
        let (tenant, now) = (order.by.tenant(), self.checks.parts.jobs.clock.now());
        let mut entries = Vec::with_capacity(submissions.len());
        for (at, Submission { draft, key }) in submissions.into_iter().enumerate() {
            let before = match &key {
                Some(key) => self.checks.repeated(tenant, key, now).await.transpose(),
                None => None,
            };
            match (before, draft) {
                (Some(answer), _) => answers.set(at, answer),
                (None, Some(draft)) => entries.push(Entry { at, draft, key }),
                (None, None) => answers.set(at, Err(Refused::Unread)),
            }
        }
        entries
    }

    /// The checks that do not depend on single jobs, before those of their queues.
    async fn disk_and_pace(
        &self,
        tenant: &TenantName,
        jobs: usize,
        now: Timestamp,
    ) -> Result<(), Refused> {
        self.checks.disk(now)?;
        self.checks.pace(tenant, jobs, now).await
    }

    /// Enqueues jobs. Jobs without room in their queue wait for it until the deadline.
    async fn enqueue(
        &self,
        order: &Order<'_>,
        mut round: Round,
        answers: &mut Answers,
    ) -> Result<(), Refused> {
        let wake_ups = &self.checks.subscribers.wake_ups;
        let mut permit = None;
        loop {
            // Before the store is asked, so that no wake-up in between is missed.
            let room = wake_ups.room.notified();
            let now = round.now;
            let waiting = self.enqueue_now(order, round, answers).await?;
            if waiting.is_empty() {
                return Ok(());
            }
            if permit.is_none() {
                permit = Some(wake_ups.waiters.permit(order.by.tenant())?);
            }
            let clock = &self.checks.parts.jobs.clock;
            tokio::select! {
                () = room => {}
                () = clock.sleep_until(after(now, ROOM_POLL).min(order.deadline)) => {}
            }
            round = self.checked_again(order, waiting, answers).await?;
        }
    }

    /// Checks jobs again that waited, because plugins, holds and keys may have changed.
    async fn checked_again(
        &self,
        order: &Order<'_>,
        waiting: Vec<Checked>,
        answers: &mut Answers,
    ) -> Result<Round, Refused> {
        let now = self.checks.parts.jobs.clock.now();
        let names = waiting.iter().map(|waiting| &waiting.job.spec.plugin).collect();
        let stays = self.plugins.accepting(order.by.tenant(), names).await;
        let mut plugins = self.checks.plugins(order.by.tenant());
        let mut jobs = Vec::with_capacity(waiting.len());
        for checked in waiting {
            match self.checks.runnable(&checked.job.spec, &mut plugins).await {
                Ok(()) => jobs.push(checked),
                Err(refused @ Refused::Store(_)) => return Err(refused),
                Err(refused) => answers.set(checked.at, Err(refused)),
            }
        }
        order.by.still_admitted()?;
        self.checks.disk(now)?;
        Ok(Round { jobs, stays, now })
    }

    /// Enqueues jobs, and returns those that must wait for room.
    async fn enqueue_now(
        &self,
        order: &Order<'_>,
        Round { mut jobs, stays, now }: Round,
        answers: &mut Answers,
    ) -> Result<Vec<Checked>, Refused> {
        if jobs.is_empty() {
            return Ok(jobs);
        }
        for Checked { job, key, .. } in &mut jobs {
            job.dedup = key.as_ref().map(|key| key.dedup(now));
        }
        let store = self.checks.parts.jobs.store.clone();
        let stored: Vec<NewJob> = jobs.iter().map(|checked| checked.job.clone()).collect();
        let enqueuing = async move { store.enqueue(stored, now).await };
        // The store may still enqueue the jobs after the submitter has disconnected, so their
        // plugins stay installed until then.
        let told = detached::run((stays, order.held.clone()), enqueuing).await;
        let told = told.map_err(|error| Refused::Broken(error.to_string()))??;
        let mut waiting = Vec::new();
        for (checked, enqueued) in jobs.into_iter().zip(told) {
            match enqueued {
                Enqueued::QueueFull(_) if now < order.deadline => waiting.push(checked),
                enqueued => answers.set(checked.at, answer(enqueued, &checked.job, now)),
            }
        }
        Ok(waiting)
    }
}

impl Intake {
    /// Refuses while there is less free disk space than the floor, for jobs: the check of [`Self::submit`].
    ///
    /// # Errors
    /// [`Refused::DiskLow`].
    pub fn has_disk_for_jobs(&self, now: Timestamp) -> Result<(), Refused> {
        self.checks.disk(now)
    }

    /// Like [`Self::has_disk_for_jobs`], for data other than jobs, such as a plugin.
    ///
    /// # Errors
    /// [`Refused::DiskLow`].
    pub fn has_disk_beside_jobs(&self, now: Timestamp) -> Result<(), Refused> {
        self.checks.disk_beside_jobs(now)
    }

    /// Counts an action of a tenant as a job that it submits.
    ///
    /// # Errors
    /// [`Refused::TooFast`], if the tenant submits more than its rate.
    pub async fn keeps_pace(&self, tenant: &TenantName, now: Timestamp) -> Result<(), Refused> {
        self.checks.pace(tenant, 1, now).await
    }
}

/// The answer about a job, from that of the store at `now`.
fn answer(enqueued: Enqueued, job: &NewJob, now: Timestamp) -> Answer {
    match enqueued {
        Enqueued::Inserted => Ok(Accepted::New(Box::new(job.accepted(now)))),
        Enqueued::Duplicate(first) => Ok(Accepted::Repeated(first)),
        Enqueued::QueueFull(full) => Err(full.into()),
        Enqueued::KeyReused => Err(Refused::KeyReused),
    }
}
