//! Which system calls a process may make (seccomp).

use std::collections::BTreeMap;

use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition,
    SeccompFilter, SeccompRule,
};

/// The system calls for running WebAssembly, in addition to [`restricted`] ones: the pipe, memory,
/// time, waiting, and ending.
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

/// The system calls for compiling, in addition to [`restricted`] ones: three streams, memory,
/// threads, ending.
const ALLOWED_TO_COMPILE: &[i64] = &[
    libc::SYS_read,
    libc::SYS_write,
    libc::SYS_readv,
    libc::SYS_writev,
    libc::SYS_close,
    libc::SYS_fstat,
    libc::SYS_munmap,
    libc::SYS_mprotect,
    libc::SYS_mremap,
    libc::SYS_madvise,
    libc::SYS_brk,
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
    libc::SYS_clock_nanosleep,
    libc::SYS_getrandom,
    libc::SYS_getpid,
    libc::SYS_gettid,
    libc::SYS_exit,
    libc::SYS_exit_group,
    // Denied by a filter of its own, so that the C library takes `clone`, whose flags can be seen.
    libc::SYS_clone3,
];

/// The allowed controls of files. Setting the process that gets a file's signals is not allowed: it
/// could be any process.
const FILE_CONTROLS: &[i32] = &[
    libc::F_GETFD,
    libc::F_SETFD,
    libc::F_GETFL,
    libc::F_DUPFD_CLOEXEC,
    libc::F_ADD_SEALS,
    libc::F_GET_SEALS,
];

/// System calls that are allowed with some arguments only.
fn restricted() -> Result<Vec<(i64, Vec<SeccompRule>)>, BackendError> {
    let dword = SeccompCmpArgLen::Dword;
    // `abort` sends a signal to the process itself.
    let this = u64::from(std::process::id());
    let signals = vec![equal(0, dword.clone(), this)?];
    let controls: Result<Vec<_>, _> = FILE_CONTROLS
        .iter()
        .map(|control| equal(1, dword.clone(), u64::from(control.unsigned_abs())))
        .collect();
    // Memory that others could map as well counts for no limit of a process.
    let shared = u64::from(libc::MAP_SHARED.unsigned_abs());
    let private = vec![masked(3, shared, 0)?];
    Ok(vec![(libc::SYS_tgkill, signals), (libc::SYS_fcntl, controls?), (libc::SYS_mmap, private)])
}

/// A rule that an argument has this value.
fn equal(index: u8, length: SeccompCmpArgLen, value: u64) -> Result<SeccompRule, BackendError> {
    SeccompRule::new(vec![SeccompCondition::new(index, length, SeccompCmpOp::Eq, value)?])
}

/// A rule that the bits of an argument in `mask` have this value.
fn masked(index: u8, mask: u64, value: u64) -> Result<SeccompRule, BackendError> {
    let (length, operator) = (SeccompCmpArgLen::Qword, SeccompCmpOp::MaskedEq(mask));
    SeccompRule::new(vec![SeccompCondition::new(index, length, operator, value)?])
}

/// The filter of a process that runs attempts.
pub(super) fn running() -> Result<BpfProgram, BackendError> {
    allowing(ALLOWED, restricted()?)
}

/// The filters of a process that compiles: the first makes `clone3` fail as on a system without it,
/// the second allows the system calls for compiling.
pub(super) fn compiling() -> Result<[BpfProgram; 2], BackendError> {
    let unknown = SeccompAction::Errno(libc::ENOSYS.unsigned_abs());
    let rules = BTreeMap::from([(libc::SYS_clone3, vec![])]);
    let architecture = std::env::consts::ARCH.try_into()?;
    let threads = SeccompFilter::new(rules, SeccompAction::Allow, unknown, architecture)?;
    let mut rules = restricted()?;
    let thread = u64::from(libc::CLONE_THREAD.unsigned_abs());
    rules.push((libc::SYS_clone, vec![masked(0, thread, thread)?]));
    // Threads are named.
    let name = u64::from(libc::PR_SET_NAME.unsigned_abs());
    rules.push((libc::SYS_prctl, vec![equal(0, SeccompCmpArgLen::Dword, name)?]));
    Ok([threads.try_into()?, allowing(ALLOWED_TO_COMPILE, rules)?])
}

/// Allows these system calls, and others by rules; denies the rest.
fn allowing(
    calls: &[i64],
    rules: Vec<(i64, Vec<SeccompRule>)>,
) -> Result<BpfProgram, BackendError> {
    let mut all: BTreeMap<i64, Vec<SeccompRule>> =
        calls.iter().map(|call| (*call, vec![])).collect();
    all.extend(rules);
    let denied = SeccompAction::Errno(libc::EPERM.unsigned_abs());
    let architecture = std::env::consts::ARCH.try_into()?;
    SeccompFilter::new(all, denied, SeccompAction::Allow, architecture)?.try_into()
}
