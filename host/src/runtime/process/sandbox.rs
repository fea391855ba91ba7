//! The sandbox of a runner: what a guest that has broken out of WebAssembly finds.
//!
//! | layer | takes away |
//! |---|---|
//! | open files | all but the pipe |
//! | limits, death signal | core dumps, files by the thousand, outliving the host |
//! | landlock | files by any path; ports; signals to others |
//! | seccomp | every system call but those that running WebAssembly takes |
//!
//! Owns what is taken away and in which order. Invariant: it is all gone before the first order; a
//! layer that the system does not have is named, and the others hold all the same.

use std::collections::BTreeMap;
use std::fs;
use std::os::fd::{FromRawFd as _, OwnedFd, RawFd};

use anyhow::Context as _;
use landlock::{
    ABI, Access as _, AccessFs, AccessNet, CompatLevel, Compatible as _, Ruleset, RulesetAttr as _,
    RulesetStatus, Scope,
};
use rustix::process::{DumpableBehavior, Resource, Rlimit, Signal};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule,
};

/// Open files: the pipe, what waits for it, and the data of the plugins that are loaded.
const FILES: u64 = 1024;

/// The version of landlock whose every right is taken away, as far as the system knows them.
const LANDLOCK: ABI = ABI::V6;

/// The first layers, for a process that has one thread and has opened nothing yet. Answers what the
/// system does not have.
///
/// # Errors
/// If what every system has cannot be set.
pub(super) fn enter() -> anyhow::Result<Vec<String>> {
    // With the thread of the host that started this process, which lives as long as the host.
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    close_inherited().context("cannot close inherited files")?;
    limit(Resource::Core, 0)?;
    limit(Resource::Nofile, FILES)?;
    // No core, whatever the system does with them, and no tracing by others of the same user.
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    Ok(landlock().err().into_iter().collect())
}

/// The last layer, on all threads: from here on there are few system calls left.
///
/// # Errors
/// What the system does not have.
pub(super) fn shut() -> Result<(), String> {
    let shown = |error: &dyn std::fmt::Display| format!("seccomp ({error})");
    let program = filter().map_err(|error| shown(&error))?;
    seccompiler::apply_filter_all_threads(&program).map_err(|error| shown(&error))
}

/// Closes what this process was started with beside its three streams: files that the host itself was
/// started with, and that nobody marked as its own.
fn close_inherited() -> std::io::Result<()> {
    let mut open: Vec<RawFd> = vec![];
    for entry in fs::read_dir("/proc/self/fd")? {
        open.extend(entry?.file_name().to_str().and_then(|name| name.parse::<RawFd>().ok()));
    }
    for file in open.into_iter().filter(|file| *file > 2) {
        // One of them was the list itself, which is closed.
        if fs::symlink_metadata(format!("/proc/self/fd/{file}")).is_err() {
            continue;
        }
        // SAFETY: nothing in this process owns it: it has one thread, which has opened nothing, and
        // the standard library knows of the first three only.
        #[expect(unsafe_code, reason = "only who owns a file may close it")]
        let inherited = unsafe { OwnedFd::from_raw_fd(file) };
        drop(inherited);
    }
    Ok(())
}

fn limit(resource: Resource, most: u64) -> std::io::Result<()> {
    // No process may raise what it was given; less is strict enough.
    let given = rustix::process::getrlimit(resource).maximum.unwrap_or(u64::MAX);
    let most = Some(most.min(given));
    Ok(rustix::process::setrlimit(resource, Rlimit { current: most, maximum: most })?)
}

/// No file, no port, no signal to anybody outside.
fn landlock() -> Result<(), String> {
    let restricted = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(LANDLOCK))
        .and_then(|rules| rules.handle_access(AccessNet::from_all(LANDLOCK)))
        .and_then(|rules| rules.scope(Scope::from_all(LANDLOCK)))
        .and_then(|rules| rules.create())
        .and_then(|rules| rules.restrict_self());
    match restricted {
        Ok(status) if status.ruleset == RulesetStatus::FullyEnforced => Ok(()),
        Ok(status) if status.ruleset == RulesetStatus::PartiallyEnforced => {
            Err("some of landlock (the kernel has an older version)".to_owned())
        }
        Ok(_) => Err("landlock (the kernel does not have it)".to_owned()),
        Err(error) => Err(format!("landlock ({error})")),
    }
}

/// What running WebAssembly takes, beside what is [restricted](restricted): the pipe, memory, time,
/// waiting, and ending.
const ALLOWED: &[i64] = &[
    libc::SYS_read,
    libc::SYS_write,
    libc::SYS_readv,
    libc::SYS_writev,
    libc::SYS_recvfrom,
    libc::SYS_sendto,
    libc::SYS_close,
    libc::SYS_epoll_ctl,
    libc::SYS_epoll_pwait,
    libc::SYS_epoll_pwait2,
    libc::SYS_ppoll,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_epoll_wait,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_poll,
    // The data of a plugin's memories is kept in a file that has no name.
    libc::SYS_memfd_create,
    libc::SYS_ftruncate,
    libc::SYS_fstat,
    libc::SYS_lseek,
    libc::SYS_mmap,
    libc::SYS_munmap,
    libc::SYS_mprotect,
    libc::SYS_mremap,
    libc::SYS_madvise,
    libc::SYS_brk,
    libc::SYS_membarrier,
    libc::SYS_futex,
    libc::SYS_sched_yield,
    libc::SYS_sched_getaffinity,
    libc::SYS_rseq,
    libc::SYS_set_robust_list,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sigaltstack,
    libc::SYS_restart_syscall,
    libc::SYS_clock_gettime,
    libc::SYS_clock_getres,
    libc::SYS_clock_nanosleep,
    libc::SYS_nanosleep,
    libc::SYS_getrandom,
    libc::SYS_getpid,
    libc::SYS_gettid,
    libc::SYS_exit,
    libc::SYS_exit_group,
];

/// What may be asked of a file: not who is signalled about it, which could be anybody.
const FILE_CONTROLS: &[i32] = &[
    libc::F_GETFD,
    libc::F_SETFD,
    libc::F_GETFL,
    libc::F_DUPFD_CLOEXEC,
    libc::F_ADD_SEALS,
    libc::F_GET_SEALS,
];

/// System calls that are allowed with some arguments only.
fn restricted() -> Result<Vec<(i64, Vec<SeccompRule>)>, seccompiler::BackendError> {
    let equal = |index, length, value| {
        let condition = SeccompCondition::new(index, length, SeccompCmpOp::Eq, value)?;
        SeccompRule::new(vec![condition])
    };
    let dword = SeccompCmpArgLen::Dword;
    // To abort is to send oneself a signal.
    let this = u64::from(std::process::id());
    let signals = vec![equal(0, dword.clone(), this)?];
    let controls: Result<Vec<_>, _> = FILE_CONTROLS
        .iter()
        .map(|control| equal(1, dword.clone(), u64::from(control.unsigned_abs())))
        .collect();
    Ok(vec![(libc::SYS_tgkill, signals), (libc::SYS_fcntl, controls?)])
}

fn filter() -> Result<BpfProgram, seccompiler::BackendError> {
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> =
        ALLOWED.iter().map(|call| (*call, vec![])).collect();
    rules.extend(restricted()?);
    let denied = SeccompAction::Errno(libc::EPERM.unsigned_abs());
    let architecture = std::env::consts::ARCH.try_into()?;
    SeccompFilter::new(rules, denied, SeccompAction::Allow, architecture)?.try_into()
}
