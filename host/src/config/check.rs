//! Checks a configuration: refuses values that contradict each other, or that would have no effect.

use anyhow::bail;
use jobwright_core::limits::{LimitPolicy, Limits, LimitsRequest, STACK_BYTES, show_bytes};

use super::derived::UNBOUNDED;
use super::{Config, Isolation};

impl Config {
    /// Refuses to listen on addresses that other machines can reach without API keys, unless the operator
    /// allows it with `insecure_no_auth`.
    ///
    /// # Errors
    /// If the address needs keys, and there are none.
    pub fn check_reach(&self, has_keys: bool) -> anyhow::Result<()> {
        if !self.listen.ip().is_loopback() && !has_keys && !self.insecure_no_auth {
            bail!(
                "other machines can connect to {}, and there are no API keys: configure `api_keys` \
                 (--api-keys FILE), create a key while the host listens on loopback (jobwright key \
                 create), or give --insecure-no-auth",
                self.listen
            );
        }
        Ok(())
    }

    /// Refuses to start without keys in a data directory that had keys before: they may have been lost.
    /// `mark` is the file that records that there were keys.
    ///
    /// # Errors
    /// Always, unless `insecure_no_auth` is set.
    pub fn check_lost_keys(&self, mark: &str) -> anyhow::Result<()> {
        anyhow::ensure!(
            self.insecure_no_auth,
            "this data directory had API keys, and now there are none: restore its access.db, start \
             with --api-keys FILE as before, or give --insecure-no-auth to accept all requests (or \
             remove {mark} to accept all requests from this machine from now on)"
        );
        Ok(())
    }

    /// Refuses settings that contradict each other.
    ///
    /// # Errors
    /// With both values, and what to do.
    pub fn check(&self) -> anyhow::Result<()> {
        if self.isolation == Isolation::Process && !cfg!(target_os = "linux") {
            bail!("isolation `process` needs Linux: use `none`");
        }
        if self.heartbeat * 2 > self.lease {
            bail!(
                "heartbeat {:?} is more than half of lease {:?}: one late renewal would lose the lease",
                self.heartbeat,
                self.lease
            );
        }
        if self.reserved_workers() >= self.workers.get() {
            bail!(
                "reserved_workers {} leaves none of {} workers for other jobs: reserve fewer",
                self.reserved_workers(),
                self.workers
            );
        }
        self.check_queue()?;
        self.check_stack()?;
        self.check_allowed_hosts()?;
        let (ceiling, budget) = (self.limit_policy()?.ceiling.memory_bytes, self.memory_budget());
        if ceiling > budget {
            bail!(
                "ceilings.memory_bytes {} exceeds the memory budget {}: a job with that limit could not \
                 run; lower it, or raise memory_budget_bytes",
                show_bytes(ceiling),
                show_bytes(budget)
            );
        }
        Ok(())
    }

    /// Refuses limits of 0, with which no job would be accepted. `queue.parked_capacity` can be 0: then no
    /// job can be scheduled or retried later.
    fn check_queue(&self) -> anyhow::Result<()> {
        for (most, name) in [
            (self.queue.capacity, "queue.capacity (--queue-capacity)"),
            (self.queue.total, "queue.total"),
        ] {
            if most == 0 {
                bail!("{name} is 0: no job would be accepted; use 1 or more");
            }
        }
        Ok(())
    }

    /// Refuses a stack size that is out of range, or that leaves too little memory for an attempt with the
    /// default limits.
    fn check_stack(&self) -> anyhow::Result<()> {
        if !STACK_BYTES.contains(&self.stack_bytes) {
            let (least, most) = STACK_BYTES.into_inner();
            bail!(
                "stack_bytes {} is not between {} and {}",
                show_bytes(self.stack_bytes),
                show_bytes(least),
                show_bytes(most)
            );
        }
        let (default, none) = (Limits::DEFAULT, LimitsRequest::default());
        let policy = LimitPolicy { default, ceiling: UNBOUNDED };
        // `limit_policy` reports invalid limits.
        let needed = policy.complete(self.limits, none, 0).unwrap_or(default).host_bytes();
        let (stacks, left) = (self.extra_stack_bytes(), self.memory_budget());
        if stacks > 0 && left < needed {
            bail!(
                "stack_bytes {} for each of {} workers deducts {} from the {} of memory for attempts: \
                 {} remain, and an attempt with the default limits takes {}; lower stack_bytes \
                 (--stack-bytes) or workers (--workers), or raise memory_budget_bytes",
                show_bytes(self.stack_bytes),
                self.workers,
                show_bytes(stacks),
                show_bytes(self.memory_with_stacks()),
                show_bytes(left),
                show_bytes(needed)
            );
        }
        Ok(())
    }

    /// Refuses an allowed host that no `Host` header can match: one with a port, a scheme or a wildcard.
    fn check_allowed_hosts(&self) -> anyhow::Result<()> {
        let can_match = |name: &str| {
            name.bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_'))
        };
        match self.allowed_hosts.iter().find(|name| !can_match(name.trim())) {
            None => Ok(()),
            Some(name) => bail!(
                "allowed_hosts has `{name}`, which is not a host name: use names such as \
                 jobs.example.com, without scheme, port, spaces or wildcards"
            ),
        }
    }
}
