//! Processes that cannot be confined do nothing: the system denies the calls that confine them.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{Command, Output, Stdio};

use anyhow::{Context as _, ensure};
use jobwright_tests::tests;
use libtest_mimic::Trial;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, apply_filter,
};

pub(super) fn trials() -> Vec<Trial> {
    tests![
        a_process_that_cannot_be_confined_runs_no_attempts,
        a_process_that_cannot_be_confined_compiles_nothing,
    ]
}

/// A system call that is denied.
#[derive(Debug, Clone, Copy)]
enum Denied {
    /// To set a limit on resources.
    Limits,
    /// To keep others from the memory of a process.
    Dumpable,
    /// To filter system calls.
    Filters,
}

impl Denied {
    fn filter(self) -> anyhow::Result<BpfProgram> {
        use SeccompCmpArgLen::{Dword, Qword};
        let (call, condition) = match self {
            Self::Limits => {
                (libc::SYS_prlimit64, Some(SeccompCondition::new(2, Qword, SeccompCmpOp::Ne, 0)?))
            }
            Self::Dumpable => {
                let option = u64::from(libc::PR_SET_DUMPABLE.unsigned_abs());
                let condition = SeccompCondition::new(0, Dword, SeccompCmpOp::Eq, option)?;
                (libc::SYS_prctl, Some(condition))
            }
            Self::Filters => (libc::SYS_seccomp, None),
        };
        let rules: Result<Vec<_>, _> =
            condition.into_iter().map(|condition| SeccompRule::new(vec![condition])).collect();
        let rules = BTreeMap::from([(call, rules?)]);
        let denied = SeccompAction::Errno(libc::EPERM.unsigned_abs());
        let here = std::env::consts::ARCH.try_into()?;
        Ok(SeccompFilter::new(rules, SeccompAction::Allow, denied, here)?.try_into()?)
    }

    /// Runs `work` on a thread for which, and for whose child processes, the call is denied. `work` must
    /// wait for the processes, as they end with the thread.
    fn to<A: Send>(self, work: impl FnOnce() -> anyhow::Result<A> + Send) -> anyhow::Result<A> {
        let filter = self.filter()?;
        let denied = move || {
            apply_filter(&filter)?;
            work()
        };
        let done = std::thread::scope(|scope| scope.spawn(denied).join());
        done.ok().context("it panicked")?
    }
}

/// The stderr of an attempt process that fails to start.
fn stderr_of_runner() -> anyhow::Result<String> {
    let (mut ours, its) = UnixStream::pair()?;
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("run-attempts").env_clear().env("JOBWRIGHT_RUNNER", "1");
    command.stdin(OwnedFd::from(its)).stdout(Stdio::null()).stderr(Stdio::null());
    let mut process = command.spawn()?;
    // The command keeps the other end open.
    drop(command);
    let mut said = vec![];
    ours.read_to_end(&mut said)?;
    ensure!(!process.wait()?.success());
    Ok(String::from_utf8_lossy(&said).into_owned())
}

async fn a_process_that_cannot_be_confined_runs_no_attempts() -> anyhow::Result<()> {
    for (denied, what) in [
        (Denied::Limits, "cannot limit core dumps"),
        (Denied::Dumpable, "cannot protect its memory from other processes"),
    ] {
        let said = denied.to(stderr_of_runner)?;
        ensure!(said.contains(what) && said.contains("Operation not permitted"), "{said}");
    }
    Ok(())
}

/// The result of a compile process without input.
fn compiled() -> anyhow::Result<Output> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("compile-plugin").env_clear();
    command.env("JOBWRIGHT_COMPILE", format!("fuel 120 {}", 2_u64 << 30));
    Ok(command.stdin(Stdio::null()).output()?)
}

async fn a_process_that_cannot_be_confined_compiles_nothing() -> anyhow::Result<()> {
    for (denied, what) in [
        (Denied::Limits, "cannot limit the compiler process"),
        (Denied::Dumpable, "cannot protect its memory from other processes"),
        (Denied::Filters, "cannot filter system calls"),
    ] {
        let output = denied.to(compiled)?;
        let said = String::from_utf8_lossy(&output.stderr);
        // The exit code differs from that for a plugin that does not compile.
        ensure!(output.status.code() == Some(1) && output.stdout.is_empty(), "{output:?}");
        ensure!(said.contains(what) && said.contains("Operation not permitted"), "{said}");
    }
    Ok(())
}
