//! Commands that wait for a writer, and how their results are sent.

use tokio::runtime::{Handle, RuntimeFlavor};

/// What a command, and each job of an enqueue, counts in addition to the payloads and outputs that it writes: writing
/// a row takes about as long as writing a page.
pub(crate) const ROW_BYTES: usize = 4 << 10;

/// Replies that the writer sends itself. Each wakes a task, which costs more from outside of the runtime than on
/// its threads, but a task that sends them costs a wake-up too.
const FEW_REPLIES: usize = 4;

/// The durability that a command needs. The highest in a commit decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Effect {
    /// Writes nothing.
    Nothing,
    /// Survives the death of the process; a power loss may undo it.
    Unsynced,
    /// Survives a power loss.
    Synced,
}

/// Sends the result of a command.
pub(super) type Reply = Box<dyn FnOnce() + Send>;

/// Applies a command to the state of the writer.
type Step<S> = Box<dyn FnOnce(&mut S) -> rusqlite::Result<Reply> + Send>;

/// A command that waits for the writer.
pub(super) struct Command<S> {
    pub(super) effect: Effect,
    /// The size of what it writes, in bytes.
    pub(super) bytes: usize,
    pub(super) apply: Step<S>,
}

impl<S> Command<S> {
    /// What it counts in a group.
    pub(super) fn size(&self) -> usize {
        self.bytes + ROW_BYTES
    }
}

/// The results of a group's commands.
#[derive(Default)]
pub(super) struct Replies {
    /// Those that may be sent before the commits so far are on disk.
    pub(super) at_once: Vec<Reply>,
    pub(super) in_order: Vec<Reply>,
}

impl Replies {
    /// Adds the result of a command with this effect.
    pub(super) fn add(&mut self, effect: Effect, reply: Reply) {
        match effect {
            Effect::Unsynced => self.at_once.push(reply),
            // What is read from memory may be part of a commit that is being synced.
            Effect::Nothing | Effect::Synced => self.in_order.push(reply),
        }
    }
}

/// Sends the results of commands.
#[derive(Debug, Clone)]
pub(super) struct Answers {
    /// The runtime whose tasks send commands, if the writer was started on one.
    runtime: Option<Handle>,
}

impl Answers {
    /// Sends them by tasks of the current runtime, if it has several threads.
    pub(super) fn here() -> Self {
        // The thread of another kind of runtime may be the one that waits for the replies.
        let runtime = Handle::try_current().ok();
        let runtime = runtime.filter(|it| it.runtime_flavor() == RuntimeFlavor::MultiThread);
        Self { runtime }
    }

    /// Sends the results, in any order.
    pub(super) fn send(&self, replies: Vec<Reply>) {
        let few = replies.len() <= FEW_REPLIES;
        let answer = move || replies.into_iter().for_each(|reply| reply());
        match &self.runtime {
            Some(runtime) if !few => drop(runtime.spawn(async { answer() })),
            _ => answer(),
        }
    }
}
