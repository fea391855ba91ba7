//! A host's connection to the store: a call may be delayed before and after its execution, refused, or cut
//! off by the host's death at either point. The execution itself is atomic, and recorded in the model.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::Duration;

use async_trait::async_trait;
use jobwright_core::attempt::Lease;
use jobwright_core::capacity::QueueFull;
use jobwright_core::change::{ChangeStream, ResumeToken};
use jobwright_core::clock::Timestamp;
use jobwright_core::hold::{Hold, HoldNote, VersionedHolds};
use jobwright_core::host::HostId;
use jobwright_core::job::{CancelRequest, Dedup, Job, JobId, NewJob, Payload};
use jobwright_core::log::LogSnapshot;
use jobwright_core::outcome::Output;
use jobwright_core::plugin::{PluginName, Version};
use jobwright_core::queue::QueueCounts;
use jobwright_core::report::ProgressUpdate;
use jobwright_core::store::{
    AttemptLog, AttemptTraces, ChangedSince, Claim, Claimed, Controls, Enqueued, Finish, Finished,
    JobFilter, JobPage, JobReads, JobStore, Page, Redriven, Renewal, Retention, StoreError,
};
use jobwright_core::tenant::{TenantLimits, TenantName};

use super::world::{Life, World, short};

/// The connection of one host.
pub(super) struct Wire {
    pub(super) world: Arc<World>,
    pub(super) life: Arc<Life>,
}

impl Wire {
    /// The way of a request to the store.
    async fn there(&self) -> Result<(), StoreError> {
        self.held_up().await;
        if self.life.refused.load(Ordering::Relaxed) {
            let reason = "the simulated store refuses".to_owned();
            return Err(StoreError::Unavailable { reason });
        }
        Ok(())
    }

    /// Delays a request or a response.
    async fn held_up(&self) {
        let rng = &self.world.rng;
        self.life.gate.pass().await;
        if !self.world.is_calm() && rng.percent(12) {
            if rng.percent(60) {
                for _ in 0..rng.between(1, 4) {
                    tokio::task::yield_now().await;
                }
            } else {
                let long = if self.world.faults.stalls { 45_000 } else { 5 };
                let most = rng.weighted(&[(70, 5), (20, 500), (10, long)]);
                tokio::time::sleep(Duration::from_millis(rng.below(most))).await;
            }
            self.life.gate.pass().await;
        }
    }

    fn note(&self, what: impl FnOnce() -> String) {
        self.world.note(|| format!("host {}: {}", self.life.number, what()));
    }
}

#[async_trait]
impl JobStore for Wire {
    async fn enqueue(
        &self,
        jobs: Vec<NewJob>,
        now: Timestamp,
    ) -> Result<Vec<Enqueued>, StoreError> {
        self.there().await?;
        let answers = self.world.at_once(self.world.store().enqueue(jobs.clone(), now))?;
        for (job, answer) in jobs.iter().zip(&answers) {
            self.note(|| {
                let (id, spec) = (short(job.id), &job.spec);
                format!("enqueue {id} of {} in {}: {answer:?}", spec.tenant, spec.queue)
            });
        }
        self.world.model().enqueued(&jobs, &answers, now);
        self.held_up().await;
        Ok(answers)
    }

    async fn claim(&self, want: Claim, now: Timestamp) -> Result<Claimed, StoreError> {
        self.there().await?;
        let claimed = self.world.at_once(self.world.store().claim(want, now))?;
        for leased in &claimed.leased {
            let (id, attempt) = (leased.lease.job, leased.lease.attempt);
            self.note(|| format!("claim {} for attempt {attempt}", short(id)));
        }
        self.world.model().claimed(&want, now, &claimed);
        self.held_up().await;
        Ok(claimed)
    }

    async fn renew(
        &self,
        leases: Vec<Lease>,
        expires_at: Timestamp,
        now: Timestamp,
    ) -> Result<Vec<Renewal>, StoreError> {
        self.there().await?;
        if self.life.unrenewed.load(Ordering::Relaxed) {
            let reason = "the simulated store renews nothing".to_owned();
            return Err(StoreError::Unavailable { reason });
        }
        let answers =
            self.world.at_once(self.world.store().renew(leases.clone(), expires_at, now))?;
        for (lease, answer) in leases.iter().zip(&answers) {
            let Lease { job, attempt, .. } = *lease;
            self.note(|| format!("renew attempt {attempt} of {}: {answer:?}", short(job)));
        }
        self.world.model().renewed(&leases, (expires_at, now), &answers);
        self.held_up().await;
        Ok(answers)
    }

    async fn alive(&self, host: HostId, now: Timestamp) -> Result<(), StoreError> {
        self.there().await?;
        self.world.at_once(self.world.store().alive(host, now))?;
        self.world.model().alive(host, now);
        Ok(())
    }

    async fn finish(&self, finish: Arc<Finish>, now: Timestamp) -> Result<Finished, StoreError> {
        self.there().await?;
        let answer = self.world.at_once(self.world.store().finish(finish.clone(), now))?;
        let Lease { job, attempt, .. } = finish.lease;
        self.note(|| {
            format!("finish attempt {attempt} of {}: {:?}: {answer:?}", short(job), finish.verdict)
        });
        self.world.model().finished(&finish, now, answer);
        self.held_up().await;
        Ok(answer)
    }

    async fn request_cancel(
        &self,
        id: JobId,
        now: Timestamp,
    ) -> Result<Option<CancelRequest>, StoreError> {
        self.there().await?;
        let answer = self.world.at_once(self.world.store().request_cancel(id, now))?;
        self.note(|| format!("cancel {}: {answer:?}", short(id)));
        self.world.model().cancelled(id, now, answer.as_ref());
        self.held_up().await;
        Ok(answer)
    }

    async fn cancel_covered(
        &self,
        hold: Hold,
        now: Timestamp,
        most: usize,
    ) -> Result<Vec<(JobId, CancelRequest)>, StoreError> {
        self.there().await?;
        let answers =
            self.world.at_once(self.world.store().cancel_covered(hold.clone(), now, most))?;
        self.note(|| format!("cancel {} under {hold:?}", answers.len()));
        self.world.model().cancelled_under(&hold, (now, most), &answers);
        self.held_up().await;
        Ok(answers)
    }

    async fn redrive(&self, id: JobId, now: Timestamp) -> Result<Option<Redriven>, StoreError> {
        self.there().await?;
        let answer = self.world.at_once(self.world.store().redrive(id, now))?;
        self.note(|| format!("redrive {}: {answer:?}", short(id)));
        self.world.model().redriven(id, now, answer.as_ref());
        self.held_up().await;
        Ok(answer)
    }

    async fn reclaim_expired(&self, now: Timestamp, most: usize) -> Result<Vec<JobId>, StoreError> {
        self.there().await?;
        let ids = self.world.at_once(self.world.store().reclaim_expired(now, most))?;
        for id in &ids {
            self.note(|| format!("reclaim {}", short(*id)));
        }
        self.world.model().reclaimed(now, most, &ids);
        self.held_up().await;
        Ok(ids)
    }

    async fn prune(&self, retention: Retention, most: usize) -> Result<usize, StoreError> {
        self.there().await?;
        self.world.at_once(self.world.store().prune(retention, most))
    }

    async fn uses(
        &self,
        tenant: &TenantName,
        plugin: &PluginName,
        version: Option<&Version>,
    ) -> Result<usize, StoreError> {
        self.world.at_once(self.world.store().uses(tenant, plugin, version))
    }

    fn spare_bytes(&self) -> u64 {
        self.world.store().spare_bytes()
    }

    fn full(&self) -> Option<QueueFull> {
        self.world.store().full()
    }

    fn ready(&self) -> Result<(), StoreError> {
        self.world.store().ready()
    }

    fn changes(&self) -> Arc<ChangeStream> {
        self.world.changes.clone()
    }
}

#[async_trait]
impl JobReads for Wire {
    async fn repeated(
        &self,
        tenant: &TenantName,
        dedup: &Dedup,
        now: Timestamp,
    ) -> Result<Option<Enqueued>, StoreError> {
        self.world.at_once(self.world.store().repeated(tenant, dedup, now))
    }

    async fn get(&self, id: JobId) -> Result<Option<Job>, StoreError> {
        self.world.at_once(self.world.store().get(id))
    }

    async fn payload(&self, id: JobId) -> Result<Option<Payload>, StoreError> {
        self.world.at_once(self.world.store().payload(id))
    }

    async fn output(&self, id: JobId) -> Result<Option<Output>, StoreError> {
        self.world.at_once(self.world.store().output(id))
    }

    async fn logs(&self, id: JobId) -> Result<Vec<AttemptLog>, StoreError> {
        self.world.at_once(self.world.store().logs(id))
    }

    async fn list(
        &self,
        filter: JobFilter,
        page: Page,
        now: Timestamp,
    ) -> Result<JobPage, StoreError> {
        self.world.at_once(self.world.store().list(filter, page, now))
    }

    async fn counts(&self, now: Timestamp) -> Result<Vec<QueueCounts>, StoreError> {
        let counts = self.world.at_once(self.world.store().counts(now))?;
        self.world.model().looks(now);
        Ok(counts)
    }

    async fn changed_since(
        &self,
        seen: &ResumeToken,
        most: usize,
    ) -> Result<ChangedSince, StoreError> {
        self.world.at_once(self.world.store().changed_since(seen, most))
    }
}

#[async_trait]
impl Controls for Wire {
    async fn set_held(&self, hold: Hold, note: Option<HoldNote>) -> Result<(), StoreError> {
        self.there().await?;
        let held = note.is_some();
        self.world.at_once(self.world.store().set_held(hold.clone(), note))?;
        self.note(|| format!("{} {hold:?}", if held { "hold" } else { "let go" }));
        self.world.model().hold(hold, held);
        self.held_up().await;
        Ok(())
    }

    async fn versioned_holds(&self) -> Result<VersionedHolds, StoreError> {
        self.world.at_once(self.world.store().versioned_holds())
    }

    async fn set_tenant(&self, name: TenantName, limits: TenantLimits) -> Result<(), StoreError> {
        self.there().await?;
        self.world.at_once(self.world.store().set_tenant(name.clone(), limits))?;
        self.note(|| format!("tenant {name}: {limits:?}"));
        self.world.model().tenants.insert(name, limits);
        self.held_up().await;
        Ok(())
    }

    async fn tenant(&self, name: &TenantName) -> Result<TenantLimits, StoreError> {
        self.world.at_once(self.world.store().tenant(name))
    }

    async fn tenants(&self) -> Result<Vec<(TenantName, TenantLimits)>, StoreError> {
        self.world.at_once(self.world.store().tenants())
    }
}

#[async_trait]
impl AttemptTraces for Wire {
    async fn save_log(&self, id: JobId, attempt: u32, log: LogSnapshot) -> Result<(), StoreError> {
        self.there().await?;
        self.world.at_once(self.world.store().save_log(id, attempt, log))
    }

    async fn save_progress(&self, lease: Lease, told: ProgressUpdate) -> Result<(), StoreError> {
        self.there().await?;
        self.world.at_once(self.world.store().save_progress(lease, told.clone()))?;
        self.world.model().told(&lease, &told);
        self.held_up().await;
        Ok(())
    }
}

/// Waits for other threads without advancing the time of the history: their speed must not matter.
pub(super) fn at_once<A>(work: impl Future<Output = A>) -> A {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    // Otherwise tokio's cooperative budget may make the task yield, and it would never be polled again
    // while this function waits.
    let mut work = pin!(tokio::task::unconstrained(work));
    loop {
        match work.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(answer) => return answer,
            Poll::Pending => std::thread::park(),
        }
    }
}
