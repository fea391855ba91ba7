//! A runtime whose attempts end when and how the test decides.

use std::sync::Arc;

use anyhow::Context as _;
use async_trait::async_trait;
use bytes::Bytes;
use jobwright_core::attempt::Attempt;
use jobwright_core::outcome::{Outcome, Output, Usage};
use jobwright_core::plugin::{Abi, Digest, Inspection};
use jobwright_core::runtime::{Ended, Runtime, StopReason, StopSignal, Unprepared, UnusablePlugin};
use jobwright_core::tenant::TenantName;
use tokio::sync::{Mutex, Notify, OwnedMutexGuard, mpsc, oneshot};

/// A plugin for which the compiler has no room.
pub const NOT_NOW: &[u8] = b"not now";

/// A runtime that accepts any bytes as a plugin, and whose attempts are ended by the test.
#[derive(Debug, Clone)]
pub struct ScriptedRuntime {
    begin: mpsc::Sender<InFlight>,
    begun: Arc<Mutex<mpsc::Receiver<InFlight>>>,
    compiler: Arc<Compiler>,
}

/// Lets a test wait until a plugin is being compiled, and delay the end of the compilation.
#[derive(Debug, Default)]
struct Compiler {
    turn: Arc<Mutex<()>>,
    asked: Notify,
}

/// An attempt that began and waits for its end.
#[derive(Debug)]
pub struct InFlight {
    /// The attempt as the host passed it.
    pub attempt: Attempt,
    /// Whether it was told to stop.
    pub stop: StopSignal,
    end: oneshot::Sender<Outcome>,
}

impl Default for ScriptedRuntime {
    fn default() -> Self {
        let (begin, begun) = mpsc::channel(1024);
        Self { begin, begun: Arc::new(Mutex::new(begun)), compiler: Arc::default() }
    }
}

impl ScriptedRuntime {
    /// The next attempt that begins.
    pub async fn next(&self) -> anyhow::Result<InFlight> {
        self.begun.lock().await.recv().await.context("no attempt can begin any more")
    }

    /// An attempt that has begun, if there is one now.
    pub async fn begun(&self) -> Option<InFlight> {
        self.begun.lock().await.try_recv().ok()
    }
}

impl ScriptedRuntime {
    /// Lets no plugin be compiled until the guard is dropped.
    pub async fn hold_compiler(&self) -> OwnedMutexGuard<()> {
        self.compiler.turn.clone().lock_owned().await
    }

    /// Returns when a plugin waits for the compiler that is held.
    pub async fn compiler_asked(&self) {
        self.compiler.asked.notified().await;
    }
}

impl InFlight {
    /// Ends it.
    pub fn end(self, outcome: Outcome) {
        // The host may have given it up.
        let _ = self.end.send(outcome);
    }

    /// Ends it with its payload as output.
    pub fn succeed(self) {
        let output = Output::new(self.attempt.payload.bytes.clone(), None);
        self.end(Outcome::Succeeded { output });
    }
}

#[async_trait]
impl Runtime for ScriptedRuntime {
    fn inspect(&self, _wasm: &[u8]) -> Result<Inspection, UnusablePlugin> {
        Ok(Inspection {
            abi: Abi::WasiCommandP1,
            imports: vec![],
            exports: vec![],
            entrypoints: vec![],
            minimum_memory_bytes: 0,
        })
    }

    async fn prepare(
        &self,
        _tenant: &TenantName,
        _digest: Digest,
        wasm: Bytes,
    ) -> Result<(), Unprepared> {
        if wasm == NOT_NOW {
            return Err(Unprepared::NotNow("no process could be started".to_owned()));
        }
        if self.compiler.turn.try_lock().is_err() {
            self.compiler.asked.notify_one();
            let _turn = self.compiler.turn.lock().await;
        }
        Ok(())
    }

    async fn run(&self, attempt: Attempt, stop: StopSignal) -> Ended {
        let (end, ended) = oneshot::channel();
        let in_flight = InFlight { attempt, stop: stop.clone(), end };
        let told = async {
            self.begin.send(in_flight).await.ok()?;
            ended.await.ok()
        };
        let outcome = tokio::select! {
            outcome = told => outcome.unwrap_or(Outcome::Interrupted),
            reason = stop.wait() => match reason {
                StopReason::Cancelled => Outcome::Cancelled,
                StopReason::Interrupted | StopReason::Disabled => Outcome::Interrupted,
            },
        };
        Ended::new(outcome, Usage::default())
    }
}
