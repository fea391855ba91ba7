//! Group commit: one thread takes the first command and the commands that wait, applies them in one
//! transaction, commits once, and answers all when the commit is on disk; those that need no sync, at once.
//!
//! While one commit is synced, on [a thread of its own](super::syncs), the next group is applied, and the commands
//! that arrive meanwhile join it: the group grows with the load. With no command waiting the writer syncs itself, so
//! light load pays for one sync and no change of threads. In a large group, commands that need no sync go first, in
//! a commit of their own.

use std::path::{Path, PathBuf};
use std::sync::{Arc, MutexGuard};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Context as _;
use jobwright_core::store::StoreError;
use rusqlite::Connection;
use rusqlite::config::DbConfig;
use tokio::sync::mpsc::error::TryRecvError;
use tokio::sync::{mpsc, oneshot};

pub use super::commands::Effect;
pub(crate) use super::commands::ROW_BYTES;
use super::commands::{Answers, Command, Replies, Reply};
use super::durable::Durable;
use super::health::{Fault, Health};
use super::open::BUSY_TIMEOUT;
use super::readers::Readers;
use super::syncs::Syncs;
pub(crate) use super::syncs::Then;

/// Commands that may wait for the writer; more make their senders wait.
const QUEUED_COMMANDS: usize = 4096;

/// The maximum size of one commit, in payload, output and [`ROW_BYTES`], which bounds how long the first of its
/// commands waits for its result: a thousand jobs.
const GROUP_BYTES: usize = 4 << 20;

/// With more commands that need a sync in a group, the others are committed first: a claim then starts its attempts
/// while the results of earlier ones are written. With fewer, another commit costs more than it saves.
const FEW_SYNCED: usize = 16;

/// The interval at which a store that ran out of disk space checks for free space.
const RECOVERY_INTERVAL: Duration = Duration::from_secs(1);

/// The state that commands change: memory, and the database under it.
pub(crate) trait State: Send + 'static {
    /// The database.
    fn connection(&self) -> &Connection;

    /// Whether the disk is so low that the write-ahead log must be truncated.
    fn is_disk_low(&mut self) -> bool {
        false
    }

    /// Writes the rows of every commit, at the end of its transaction.
    fn seal(&mut self) -> rusqlite::Result<()> {
        Ok(())
    }

    /// Called after a commit. What it returns is done in the order of commits, on any thread: when the commit, and those
    /// before it, are on disk as far as they need to be, and before the commands that wait for that are answered.
    fn committed(&mut self) -> Then {
        Box::new(|| {})
    }

    /// Called when the commands of a group are answered, or are about to be.
    fn between_groups(&mut self) {}

    /// Excludes checkpoints of another thread, so that the writer can make one, until the guard is
    /// dropped.
    fn pause_checkpoints(&self) -> Option<MutexGuard<'_, ()>> {
        None
    }

    /// Called before the connection is closed.
    fn closing(&mut self) {}

    /// Whether there is background work in addition to the commands.
    fn has_chore(&self) -> bool {
        false
    }

    /// Does a small part of the background work, in memory, between two groups, so that no command
    /// is delayed.
    fn chore(&mut self) {}

    /// Loads the state in memory again after a transaction was rolled back.
    fn reload(&mut self) -> rusqlite::Result<()>;
}

/// The handle of the writer thread, which ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Writer<S> {
    commands: Option<mpsc::Sender<Command<S>>>,
    health: Arc<Health>,
    path: PathBuf,
    durable: Arc<Durable>,
    thread: Option<JoinHandle<()>>,
}

impl<S: State> Writer<S> {
    /// Starts the thread for the database at `path`, which `state` has opened.
    ///
    /// # Errors
    /// If a thread cannot be started, or the write-ahead log cannot be opened.
    pub(crate) fn start(name: &'static str, path: &Path, state: S) -> anyhow::Result<Self> {
        let (commands, waiting) = mpsc::channel(QUEUED_COMMANDS);
        let health = Arc::new(Health::of(name));
        let run = Group::new(state, waiting, health.clone(), path)
            .with_context(|| format!("cannot write the store {}", path.display()))?;
        let durable = run.syncs.durable().clone();
        let thread =
            std::thread::Builder::new().name(format!("{name}-writer")).spawn(move || run.run())?;
        let (commands, path) = (Some(commands), path.to_owned());
        Ok(Self { commands, health, path, durable, thread: Some(thread) })
    }

    /// This number of readers of the same database.
    pub(crate) fn readers(&self, count: usize) -> Arc<Readers> {
        Arc::new(Readers::new(&self.path, count, self.durable.clone()))
    }

    /// Applies `step` in the next group, and returns its result when that is committed.
    pub(crate) async fn submit<A: Send + 'static>(
        &self,
        effect: Effect,
        bytes: usize,
        step: impl FnOnce(&mut S) -> rusqlite::Result<A> + Send + 'static,
    ) -> Result<A, StoreError> {
        let (answer, answered) = oneshot::channel();
        let apply = Box::new(move |state: &mut S| {
            let value = step(state)?;
            // If the caller was dropped, the receiver is closed; the command is committed
            // nevertheless.
            Ok(Box::new(move || drop(answer.send(value))) as Reply)
        });
        let commands = self.commands.as_ref().ok_or_else(|| self.health.error())?;
        let command = Command { effect, bytes, apply };
        commands.send(command).await.map_err(|_| self.health.error())?;
        answered.await.map_err(|_| self.health.error())
    }

    /// Whether commands are accepted.
    pub(crate) fn healthy(&self) -> Result<(), StoreError> {
        match &*self.health.lock() {
            None => Ok(()),
            Some(fault) => Err(fault.error.clone()),
        }
    }
}

impl<S> Drop for Writer<S> {
    fn drop(&mut self) {
        self.commands = None;
        // Waits for the last commit, so that nothing is written after the directory's lock is
        // released.
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the store's writer had panicked");
        }
    }
}

/// The thread's side.
struct Group<S> {
    state: S,
    waiting: mpsc::Receiver<Command<S>>,
    health: Arc<Health>,
    answers: Answers,
    syncs: Syncs,
}

impl<S: State> Group<S> {
    fn new(
        state: S,
        waiting: mpsc::Receiver<Command<S>>,
        health: Arc<Health>,
        path: &Path,
    ) -> anyhow::Result<Self> {
        // From here on commits are synced by `syncs`; those before, of schema steps for example, synced themselves.
        state.connection().pragma_update(None, "synchronous", "NORMAL")?;
        let syncs = Syncs::start(path, health.clone())?;
        Ok(Self { state, waiting, health, answers: Answers::here(), syncs })
    }

    fn run(mut self) {
        let health = self.health.clone();
        while let Some(first) = self.next() {
            let _turn = health.turn();
            if !self.recovered() {
                continue; // dropping the command answers it with the fault
            }
            let bytes = first.size();
            let mut group = vec![first];
            group.extend(self.gather(bytes));
            match self.write(group) {
                // A checkpoint would sync the log again.
                Ok(()) if self.syncs.has_failed() => {}
                Ok(()) => {
                    self.state.between_groups();
                    if self.state.is_disk_low() {
                        self.shorten_log();
                    }
                }
                Err(error) => {
                    self.health.fail(&error);
                    self.syncs.settle();
                }
            }
        }
        self.syncs.stop();
        self.state.closing();
        let db = self.state.connection();
        // Leaves one file instead of three. A failure here is repaired at the next start.
        let _ = match self.syncs.has_failed() {
            true => db.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true).map(drop),
            false => db.execute_batch("PRAGMA wal_checkpoint(TRUNCATE)"),
        };
    }

    /// Waits for the next command. Background work is done meanwhile, and one part of it in any
    /// case.
    fn next(&mut self) -> Option<Command<S>> {
        while self.state.has_chore() {
            self.state.chore();
            match self.waiting.try_recv() {
                Ok(command) => return Some(command),
                Err(TryRecvError::Disconnected) => return None,
                Err(TryRecvError::Empty) => {}
            }
        }
        self.waiting.blocking_recv()
    }

    /// Commits a group and answers its commands.
    fn write(&mut self, group: Vec<Command<S>>) -> rusqlite::Result<()> {
        let (mut group, synced): (Vec<_>, Vec<_>) =
            group.into_iter().partition(|command| command.effect < Effect::Synced);
        if !group.is_empty() && synced.len() > FEW_SYNCED {
            let first = std::mem::take(&mut group);
            self.commit(first)?;
        }
        group.extend(synced);
        self.commit(group)
    }

    /// Truncates the write-ahead log, if no reader is using it; otherwise the next group tries
    /// again.
    fn shorten_log(&self) {
        let db = self.state.connection();
        let truncate = "PRAGMA wal_checkpoint(TRUNCATE)";
        let _paused = self.state.pause_checkpoints();
        let done =
            db.busy_timeout(Duration::ZERO).and_then(|()| db.query_row(truncate, [], |_| Ok(())));
        // Also after an error: otherwise the writer would never wait for another connection again.
        let done = db.busy_timeout(BUSY_TIMEOUT).and(done);
        if let Err(error) = done {
            tracing::warn!(%error, store = self.health.store, "cannot truncate a write-ahead log");
        }
    }

    /// Takes the commands that wait, up to the size of a group, of which `bytes` are taken already.
    fn gather(&mut self, mut bytes: usize) -> Vec<Command<S>> {
        let mut group = vec![];
        while bytes < GROUP_BYTES {
            let Ok(next) = self.waiting.try_recv() else { break };
            bytes += next.size();
            group.push(next);
        }
        group
    }

    fn commit(&mut self, group: Vec<Command<S>>) -> rusqlite::Result<()> {
        let effect = group.iter().map(|command| command.effect).max().unwrap_or(Effect::Nothing);
        let bytes = group.iter().map(Command::size).sum();
        let mut replies = Replies::default();
        if effect == Effect::Nothing {
            self.apply(group, &mut replies)?;
            self.answer(replies, Box::new(|| {}), false);
            return Ok(());
        }
        self.state.connection().prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
        self.apply(group, &mut replies)?;
        let needs_sync = effect == Effect::Synced;
        if needs_sync {
            if !self.syncs.wait() {
                return Ok(()); // dropping the commands answers them with the fault
            }
            let joining = self.gather(bytes);
            self.apply(joining, &mut replies)?;
            self.syncs.durable().will_write();
        }
        self.state.seal()?;
        self.state.connection().prepare_cached("COMMIT")?.execute([])?;
        let publish = self.state.committed();
        self.answer(replies, publish, needs_sync);
        Ok(())
    }

    fn apply(&mut self, group: Vec<Command<S>>, replies: &mut Replies) -> rusqlite::Result<()> {
        for Command { effect, apply, .. } in group {
            let reply = apply(&mut self.state)?;
            replies.add(effect, reply);
        }
        Ok(())
    }

    /// Answers the commands of a group and publishes its commit, in the order of commits, and after a sync if
    /// `needs_sync`.
    fn answer(&mut self, replies: Replies, publish: Then, needs_sync: bool) {
        if self.syncs.has_failed() {
            return; // dropping the commands answers them with the fault
        }
        let Replies { at_once, in_order } = replies;
        self.answers.send(at_once);
        let answers = self.answers.clone();
        let then: Then = Box::new(move || {
            publish();
            answers.send(in_order);
        });
        match needs_sync {
            false if self.syncs.is_idle() => then(),
            true if self.waiting.is_empty() => self.syncs.sync_here(then),
            _ => self.syncs.give(needs_sync, then),
        }
    }

    /// Whether the store can continue: always, unless it had failed and still fails.
    fn recovered(&mut self) -> bool {
        match &*self.health.lock() {
            None => return true,
            Some(Fault { retry: Some(since), .. }) if since.elapsed() >= RECOVERY_INTERVAL => {}
            Some(_) => return false,
        }
        let connection = self.state.connection();
        // Rolls back a transaction that a failure left open; an error means that there was none.
        let _ = connection.execute_batch("ROLLBACK");
        let probe = "CREATE TABLE probe (x); DROP TABLE probe;";
        let outcome = connection.execute_batch(probe).and_then(|()| self.state.reload());
        match outcome {
            Ok(()) => {
                tracing::info!(store = self.health.store, "store recovered");
                *self.health.lock() = None;
                true
            }
            Err(error) => {
                self.health.fail(&error);
                false
            }
        }
    }
}

#[cfg(test)]
mod tests;
