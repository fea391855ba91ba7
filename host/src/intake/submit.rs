//! The one way to a job, with its checks in the order of the [module](super)'s text.

use std::time::Duration;

use jobwright_core::clock::{Timestamp, after};
use jobwright_core::job::{JobSpec, NewJob};
use jobwright_core::store::Enqueued;
use jobwright_core::tenant::TenantName;

use super::answers::Answers;
use super::checks::{Checks, IntakeSettings, Parts};
use super::draft::JobDraft;
use super::plugin_locks::{Accepting, PluginLocks};
use super::refused::Refused;
use super::submission::{Accepted, Answer, Order, RequestKey, Submission};
use crate::detached;

/// How often a submitter that waits for room tries again while nothing wakes it.
const ROOM_POLL: Duration = Duration::from_millis(100);

/// Accepts jobs.
pub struct Intake {
    checks: Checks,
    /// What keeps plugins that are changed, and the submissions that need them, apart.
    pub plugins: PluginLocks,
}

/// A draft whose key, if it has one, is new.
struct Entry {
    /// Its place among the answers.
    at: usize,
    draft: JobDraft,
    key: Option<RequestKey>,
}

/// A job that passed all checks but that of its queue.
struct Checked {
    at: usize,
    job: NewJob,
    key: Option<RequestKey>,
}

/// Jobs that are about to be enqueued, whose plugins stay meanwhile.
struct Round {
    jobs: Vec<Checked>,
    stays: Accepting,
    now: Timestamp,
}

impl Intake {
    /// Accepts jobs with these parts.
    #[must_use]
    pub fn new(parts: Parts, settings: IntakeSettings) -> Self {
        Self { checks: Checks::new(parts, settings), plugins: PluginLocks::default() }
    }

    /// Accepts or refuses jobs, each for itself, and answers in their order.
    ///
    /// # Errors
    /// If all are refused for a reason that is none of theirs: they can be submitted again as they are.
    pub async fn submit(
        &self,
        order: &Order<'_>,
        submissions: Vec<Submission>,
    ) -> Result<Vec<Answer>, Refused> {
        let now = self.checks.parts.clock.now();
        let mut answers = Answers::of(submissions.len());
        let entries = self.unless_repeated(order, submissions, &mut answers).await;
        let plugins = entries.iter().map(|entry| &entry.draft.plugin.name).collect();
        let stays = self.plugins.accepting(order.by.tenant(), plugins).await;
        let mut jobs = Vec::with_capacity(entries.len());
        for Entry { at, draft, key } in entries {
            match self.checks.job(order.by, draft, now) {
                Ok(job) => jobs.push(Checked { at, job, key }),
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

    /// Checks whether a job that was accepted before may be run anew, in the same order, but for its place
    /// in the queue. Its plugin stays until the answer is dropped.
    ///
    /// # Errors
    /// Why not.
    pub async fn resubmit(&self, spec: &JobSpec) -> Result<Accepting, Refused> {
        let stays = self.plugins.accepting(&spec.tenant, [&spec.plugin].into()).await;
        self.checks.runnable(spec)?;
        self.disk_and_pace(&spec.tenant, 1, self.checks.parts.clock.now()).await?;
        Ok(stays)
    }

    /// The submissions whose keys are new; the others are answered.
    async fn unless_repeated(
        &self,
        order: &Order<'_>,
        submissions: Vec<Submission>,
        answers: &mut Answers,
    ) -> Vec<Entry> {
        let (tenant, now) = (order.by.tenant(), self.checks.parts.clock.now());
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

    /// The checks that no job passes or fails by itself, before those of its queue.
    async fn disk_and_pace(
        &self,
        tenant: &TenantName,
        jobs: usize,
        now: Timestamp,
    ) -> Result<(), Refused> {
        self.checks.disk(now)?;
        self.checks.pace(tenant, jobs, now).await
    }

    /// Enqueues jobs; until the deadline those whose queues have no room wait for it.
    async fn enqueue(
        &self,
        order: &Order<'_>,
        mut round: Round,
        answers: &mut Answers,
    ) -> Result<(), Refused> {
        let wake_ups = &self.checks.parts.wake_ups;
        let mut place = None;
        loop {
            // Before the store looks, so that no room that comes afterwards is missed.
            let room = wake_ups.room.notified();
            let now = round.now;
            let waiting = self.enqueue_now(order, round, answers).await?;
            if waiting.is_empty() {
                return Ok(());
            }
            if place.is_none() {
                place = Some(wake_ups.waiters.place(order.by.tenant())?);
            }
            let clock = &self.checks.parts.clock;
            tokio::select! {
                () = room => {}
                () = clock.sleep_until(after(now, ROOM_POLL).min(order.deadline)) => {}
            }
            round = self.checked_again(order, waiting, answers).await?;
        }
    }

    /// Checks jobs that waited once more: meanwhile much may have changed.
    async fn checked_again(
        &self,
        order: &Order<'_>,
        waiting: Vec<Checked>,
        answers: &mut Answers,
    ) -> Result<Round, Refused> {
        let now = self.checks.parts.clock.now();
        let plugins = waiting.iter().map(|waiting| &waiting.job.spec.plugin).collect();
        let stays = self.plugins.accepting(order.by.tenant(), plugins).await;
        let mut jobs = Vec::with_capacity(waiting.len());
        for checked in waiting {
            match self.checks.runnable(&checked.job.spec) {
                Ok(()) => jobs.push(checked),
                Err(refused) => answers.set(checked.at, Err(refused)),
            }
        }
        order.by.still_admitted()?;
        self.checks.disk(now)?;
        Ok(Round { jobs, stays, now })
    }

    /// Enqueues jobs, and answers which are to wait for room.
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
        let store = self.checks.parts.store.clone();
        let stored: Vec<NewJob> = jobs.iter().map(|checked| checked.job.clone()).collect();
        let enqueuing = async move { store.enqueue(stored, now).await };
        // The store may still take the jobs when the submitter has gone: their plugins stay until then.
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

    /// The same for what is kept beside jobs, such as a plugin.
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
