//! Running other programs: with their output captured, and with the reason of a failure in the error.

use std::env;
use std::ffi::OsStr;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::{Context, bail};

/// The interval for polling a program with a time limit.
const POLL_INTERVAL: Duration = Duration::from_millis(100);

/// Variables of cargo that configure its network access and folders, and do not affect the output.
const KEPT: [&str; 7] = [
    "CARGO_BUILD_JOBS",
    "CARGO_HOME",
    "CARGO_HTTP_",
    "CARGO_NET_",
    "CARGO_REGISTRIES_",
    "CARGO_REGISTRY_",
    "CARGO_SOURCE_",
];

/// What an outer cargo, nextest or coverage run sets for its own compiler.
const DROPPED: [&str; 5] = ["CARGO", "LLVM_PROFILE_", "NEXTEST", "RUSTC", "RUSTFLAGS"];

/// A command without the variables of an outer build: guests must be the same when built by
/// `cargo test`, by `cargo run` and by hand.
pub(crate) fn command(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    command.stdin(Stdio::null());
    for (name, _) in env::vars_os() {
        if name.to_str().is_some_and(|name| !is_inherited(name)) {
            command.env_remove(name);
        }
    }
    command
}

fn is_inherited(name: &str) -> bool {
    let starts = |list: &[&str]| list.iter().any(|prefix| name.starts_with(prefix));
    starts(&KEPT) || !starts(&DROPPED)
}

/// The stdout of `command`, if it succeeds.
pub(crate) fn stdout_of(command: &mut Command) -> Option<String> {
    let output = command.stderr(Stdio::null()).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// Runs `command` to its end, and passes each line of its stderr to `line`.
pub(crate) fn run(command: &mut Command, line: impl Fn(&str)) -> anyhow::Result<()> {
    let name = command.get_program().to_string_lossy().into_owned();
    let mut child = command
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot run `{name}`"))?;
    let mut said = String::new();
    let stderr = child.stderr.take().map(BufReader::new);
    for bytes in stderr.into_iter().flat_map(|stderr| stderr.split(b'\n')) {
        let bytes = bytes.with_context(|| format!("cannot read the output of `{name}`"))?;
        let written = String::from_utf8_lossy(&bytes);
        line(&written);
        said.push_str(&written);
        said.push('\n');
    }
    let status = child.wait().with_context(|| format!("cannot wait for `{name}`"))?;
    if !status.success() {
        bail!("`{name}` failed with {status}:\n{}", said.trim_end());
    }
    Ok(())
}

/// Whether `command` succeeds within `limit`; it is killed after that time.
pub(crate) fn succeeds_within(limit: Duration, command: &mut Command) -> bool {
    let quiet = command.stdout(Stdio::null()).stderr(Stdio::null());
    let Ok(mut child) = quiet.spawn() else { return false };
    let mut waited = Duration::ZERO;
    while waited < limit {
        match child.try_wait() {
            Ok(Some(status)) => return status.success(),
            Ok(None) => thread::sleep(POLL_INTERVAL),
            Err(_) => break,
        }
        waited += POLL_INTERVAL;
    }
    // Both may fail if the process has just ended, which is fine.
    let _ = child.kill();
    let _ = child.wait();
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_of_another_build_are_not_inherited() {
        for name in [
            "CARGO",
            "CARGO_BUILD_TARGET",
            "CARGO_ENCODED_RUSTFLAGS",
            "CARGO_LLVM_COV",
            "CARGO_MANIFEST_DIR",
            "CARGO_PROFILE_RELEASE_LTO",
            "CARGO_TARGET_DIR",
            "LLVM_PROFILE_FILE",
            "NEXTEST",
            "RUSTC",
            "RUSTC_WORKSPACE_WRAPPER",
            "RUSTFLAGS",
        ] {
            assert!(!is_inherited(name), "{name}");
        }
    }

    #[test]
    fn variables_for_network_and_paths_are_inherited() {
        for name in ["CARGO_HOME", "CARGO_NET_OFFLINE", "HTTPS_PROXY", "PATH", "RUSTUP_TOOLCHAIN"] {
            assert!(is_inherited(name), "{name}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_failure_has_the_stderr_of_the_program() {
        let error =
            run(command("sh").args(["-c", "echo no luck >&2; exit 3"]), |_| ()).unwrap_err();
        assert!(error.to_string().ends_with("no luck"), "{error}");
        let absent = run(&mut command("jobwright-no-such-program"), |_| ()).unwrap_err();
        assert_eq!(absent.to_string(), "cannot run `jobwright-no-such-program`");
    }

    #[cfg(unix)]
    #[test]
    fn a_program_that_takes_too_long_is_killed() {
        assert!(succeeds_within(Duration::from_secs(60), &mut command("true")));
        assert!(!succeeds_within(Duration::from_millis(200), command("sleep").arg("600")));
    }
}
