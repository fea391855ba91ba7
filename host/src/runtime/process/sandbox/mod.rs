//! The sandbox of a runner, which confines a guest that has escaped from WebAssembly, and the
//! sandbox of a compiler process, whose input may exploit a bug of the compiler.
//!
//! | layer | takes away |
//! |---|---|
//! | open files | all but the pipe |
//! | limits, death signal | core dumps, files by the thousand, outliving the host |
//! | landlock | files by any path; ports; signals to others |
//! | seccomp ([`filter`]) | every system call but those that running or compiling WebAssembly takes |
//!
//! Owns what is taken away and in which order. Invariant: it is all gone before the first order; a
//! layer that the system does not have is named, and the others hold all the same.

mod filter;

use std::fs;
use std::os::fd::{FromRawFd as _, OwnedFd, RawFd};

use anyhow::{Context as _, ensure};
use landlock::{
    ABI, Access as _, AccessFs, AccessNet, CompatLevel, Compatible as _, Ruleset, RulesetAttr as _,
    RulesetStatus, Scope,
};
use rustix::process::{DumpableBehavior, Resource, Rlimit, Signal};

/// The niceness of a runner: where all slots compute, the host must still be scheduled at once, for instance to
/// cancel one of them. A host's thread weighs nine times as much.
const NICE: i32 = 10;

/// Open files: the pipe, what waits for it, and the data of at most eight memories of a plugin, in one
/// or two profiles.
const FILES: u64 = 64;

/// The version of landlock whose every right is taken away, as far as the system knows them.
const LANDLOCK: ABI = ABI::V6;

/// The first layers, for a process that has one thread and has opened nothing yet. Returns the
/// layers that the system does not have.
///
/// # Errors
/// If a layer that every system has cannot be set.
pub(super) fn enter() -> anyhow::Result<Vec<String>> {
    // The signal is sent when the host's thread that started this process ends; that thread lives
    // as long as the host.
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    close_inherited().context("cannot close inherited files")?;
    rustix::process::nice(NICE).context("cannot lower the priority")?;
    restrict()
}

/// Confines a compiler process after it has set its limits. Returns the layers that the system does
/// not have: at most landlock, without which the filter of system calls denies files too.
///
/// # Errors
/// If another layer cannot be set: nothing must be compiled then.
pub(in super::super) fn confine_compiler() -> anyhow::Result<Vec<String>> {
    let missing = restrict()?;
    // In this order: the second filter does not allow to set another one.
    let filters = filter::compiling().map_err(seccompiler::Error::from);
    filters
        .and_then(|both| both.iter().try_for_each(|one| seccompiler::apply_filter(one)))
        .context("cannot filter system calls")?;
    Ok(missing)
}

/// Bounds the files that a runner makes: they have no name and hold the data of one memory each.
///
/// # Errors
/// If the system refuses.
pub(super) fn bound_files(memory_bytes: u64) -> std::io::Result<()> {
    limit(Resource::Fsize, memory_bytes)
}

/// Sets the limits, which do not depend on closed files.
fn restrict() -> anyhow::Result<Vec<String>> {
    limit(Resource::Core, 0).context("cannot limit core dumps")?;
    limit(Resource::Nofile, FILES).context("cannot limit open files")?;
    // No core, whatever the system does with them, and no tracing by others of the same user.
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)
        .context("cannot protect its memory from other processes")?;
    Ok(landlock().err().into_iter().collect())
}

/// The last layer, on all threads: few system calls are allowed afterwards.
///
/// # Errors
/// With the layer that the system does not have.
pub(super) fn shut() -> Result<(), String> {
    let applied = filter::running()
        .map_err(seccompiler::Error::from)
        .and_then(|program| seccompiler::apply_filter_all_threads(&program));
    applied.map_err(|error| format!("seccomp ({error})"))
}

/// Refuses a sandbox that lacks a layer which the first one had: `first` lists what the first one lacked.
///
/// # Errors
/// With the layers that are missing.
pub(super) fn check_not_weaker(first: &[String], missing: &[String]) -> anyhow::Result<()> {
    let more: Vec<&str> =
        missing.iter().filter(|what| !first.contains(what)).map(String::as_str).collect();
    ensure!(
        more.is_empty(),
        "an attempt process has a weaker sandbox than the first one: no {}",
        more.join(", no ")
    );
    Ok(())
}

/// Closes what this process was started with besides its three streams: files that the host itself was
/// started with, and did not mark as its own. For a process that has one thread and has opened nothing
/// yet.
pub(in super::super) fn close_inherited() -> std::io::Result<()> {
    let mut open: Vec<RawFd> = vec![];
    for entry in fs::read_dir("/proc/self/fd")? {
        open.extend(entry?.file_name().to_str().and_then(|name| name.parse::<RawFd>().ok()));
    }
    for file in open.into_iter().filter(|file| *file > 2) {
        // One entry was the directory of the list itself, which is closed.
        if fs::symlink_metadata(format!("/proc/self/fd/{file}")).is_err() {
            continue;
        }
        // SAFETY: nothing in this process owns it: it has one thread, which has opened nothing, and
        // the standard library knows of the first three only.
        #[expect(unsafe_code, reason = "a file may be closed by its owner only")]
        let inherited = unsafe { OwnedFd::from_raw_fd(file) };
        drop(inherited);
    }
    Ok(())
}

fn limit(resource: Resource, most: u64) -> std::io::Result<()> {
    // A process cannot raise its hard limit; a lower one is strict enough.
    let given = rustix::process::getrlimit(resource).maximum.unwrap_or(u64::MAX);
    let most = Some(most.min(given));
    Ok(rustix::process::setrlimit(resource, Rlimit { current: most, maximum: most })?)
}

/// Denies files, ports and signals to other processes.
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

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream, UdpSocket};
    use std::os::unix::net::UnixStream;
    use std::path::Path;
    use std::process::Command;

    use rustix::process::{Pid, getppid, kill_process};

    use super::*;

    /// Set for the test that runs in a separate process: which layers confine that process.
    const WITHIN: &str = "JOBWRIGHT_TEST_SANDBOX";

    /// Runs the test `name` again in another process, confined by the layers `within`.
    fn again(name: &str, within: &str) {
        let name = format!("runtime::process::sandbox::tests::{name}");
        let output = Command::new(std::env::current_exe().expect("this is a program"))
            .args(["--exact", &name, "--test-threads", "1", "--nocapture"])
            .env(WITHIN, within)
            .output()
            .expect("it starts");
        let said =
            String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && said.contains("all is denied"), "{within}: {said}");
    }

    /// The names of the tries that succeed.
    fn succeeding(tries: &[(&'static str, &dyn Fn() -> bool)]) -> Vec<&'static str> {
        tries.iter().filter(|(_, attempt)| attempt()).map(|(name, _)| *name).collect()
    }

    fn files() -> Vec<&'static str> {
        succeeding(&[
            ("read a file", &|| fs::read("/proc/self/status").is_ok()),
            ("list a directory", &|| fs::read_dir("/").is_ok()),
            ("write a file", &|| fs::write("/tmp/jobwright-test-sandbox", b"x").is_ok()),
            ("open a device", &|| fs::File::open("/dev/zero").is_ok()),
        ])
    }

    fn everything_else(parent: Pid) -> Vec<&'static str> {
        succeeding(&[
            ("listen", &|| TcpListener::bind("127.0.0.1:0").is_ok()),
            ("connect", &|| {
                let error = TcpStream::connect("127.0.0.1:1").expect_err("nobody listens there");
                error.kind() != std::io::ErrorKind::PermissionDenied
            }),
            ("make a datagram socket", &|| UdpSocket::bind("127.0.0.1:0").is_ok()),
            ("make a local socket", &|| UnixStream::pair().is_ok()),
            ("look at a file", &|| Path::new("/").symlink_metadata().is_ok()),
            ("run a program", &|| Command::new("/bin/true").status().is_ok()),
            ("start a thread", &|| std::thread::Builder::new().spawn(|| ()).is_ok()),
            ("signal the host", &|| kill_process(parent, Signal::CONT).is_ok()),
            ("undo it", &|| {
                rustix::process::set_dumpable_behavior(DumpableBehavior::Dumpable).is_ok()
            }),
        ])
    }

    #[test]
    fn a_runner_sandbox_denies_files_network_and_processes() {
        let parent = getppid().expect("a parent");
        let Ok(within) = std::env::var(WITHIN) else {
            assert_eq!(files().len(), 4, "all of it is there outside");
            assert!(everything_else(parent).len() > 7, "all of it is there outside");
            again("a_runner_sandbox_denies_files_network_and_processes", "all");
            return;
        };
        assert_eq!(within, "all");
        let missing = restrict().expect("what every system has");
        shut().expect("seccomp");
        let memory = vec![1_u8; 10 << 20];
        std::thread::sleep(std::time::Duration::from_millis(1));
        let found = [files(), everything_else(parent)].concat();
        assert!(found.is_empty(), "{found:?}; missing: {missing:?}");
        println!("all is denied, but {} bytes of memory", memory.len());
    }

    #[test]
    fn a_compiler_sandbox_denies_files_network_and_processes_but_not_threads() {
        let parent = getppid().expect("a parent");
        let Ok(within) = std::env::var(WITHIN) else {
            again(
                "a_compiler_sandbox_denies_files_network_and_processes_but_not_threads",
                "compiling",
            );
            return;
        };
        assert_eq!(within, "compiling");
        let missing = confine_compiler().expect("it is confined");
        let found = [files(), everything_else(parent)].concat();
        assert_eq!(found, ["start a thread"], "missing: {missing:?}");
        let sum = std::thread::spawn(|| vec![1_u8; 10 << 20].len()).join().expect("a thread");
        println!("all is denied, but {sum} bytes of memory in a thread");
    }

    #[test]
    fn each_layer_denies_files_by_itself() {
        let Ok(within) = std::env::var(WITHIN) else {
            again("each_layer_denies_files_by_itself", "landlock");
            again("each_layer_denies_files_by_itself", "seccomp");
            return;
        };
        let missing = match within.as_str() {
            "landlock" => landlock().err(),
            _ => shut().err(),
        };
        let found = files();
        assert!(found.is_empty() || missing.is_some(), "{found:?}");
        println!("all is denied, or missing: {missing:?}");
    }

    #[test]
    fn a_process_with_a_weaker_sandbox_than_the_first_is_refused() {
        let (landlock, seccomp) = ("landlock".to_owned(), "seccomp (no memory)".to_owned());
        let (both, one) = ([landlock.clone(), seccomp.clone()], [landlock]);
        for (first, missing) in [(&[][..], &[][..]), (&one, &one), (&both, &one), (&one, &[])] {
            assert!(check_not_weaker(first, missing).is_ok(), "{first:?} {missing:?}");
        }
        let refused = check_not_weaker(&one, &both).expect_err("it lacks more").to_string();
        assert!(refused.ends_with("than the first one: no seccomp (no memory)"), "{refused}");
        assert!(check_not_weaker(&[], &one).is_err());
    }
}
