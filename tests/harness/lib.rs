//! The harness of the integration tests: how a test is listed and run, and the parts that tests
//! share. The tests themselves are the modules of `../main.rs`: one binary, because linking wasmtime
//! is slow.

mod clock;
pub mod components;
pub mod fetch;
pub mod guests;
mod host;
mod process;
mod scripted;
mod server;

use std::cell::Cell;
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::pin::Pin;
use std::time::Duration;

use libtest_mimic::{Failed, Trial};

pub use self::clock::TestClock;
pub use self::host::TestHost;
pub use self::process::{AS_PROGRAM, HostProcess, by_another, jobwright};
pub use self::scripted::{InFlight, NOT_NOW, ScriptedRuntime};
pub use self::server::Server;

/// The time limit of one test, so that a test that hangs fails. The longest tests install and run
/// compilers: two minutes on two busy cores.
pub const DEADLINE: Duration = Duration::from_secs(400);

/// Writes a file that only its owner can read and write, as a host requires for secrets.
///
/// # Errors
/// If it cannot be written.
pub fn write_private(path: &Path, text: &str) -> anyhow::Result<()> {
    std::fs::write(path, text)?;
    Ok(std::fs::set_permissions(path, Permissions::from_mode(0o600))?)
}

tokio::task_local! {
    static ISOLATED: bool;
}

thread_local! {
    static LISTING_ISOLATED: Cell<bool> = const { Cell::new(false) };
}

/// Whether attempts of this test run in processes of their own: see [`isolated`].
#[must_use]
pub fn is_isolated() -> bool {
    ISOLATED.try_with(|isolated| *isolated).unwrap_or(false)
}

/// The tests of `list` with [`is_isolated`] set; their names begin with `isolated`.
pub fn isolated(list: impl FnOnce() -> Vec<Trial>) -> Vec<Trial> {
    LISTING_ISOLATED.set(true);
    let listed = list();
    LISTING_ISOLATED.set(false);
    listed
}

/// The future of a test.
pub type Running = Pin<Box<dyn Future<Output = anyhow::Result<()>> + Send>>;

/// A test that runs `body` on a tokio runtime of its own.
pub fn trial(name: &str, body: impl FnOnce() -> Running + Send + 'static) -> Trial {
    // The name of the binary is the same for all tests.
    let name = name.split_once("::").map_or(name, |(_, rest)| rest);
    let isolated = LISTING_ISOLATED.get();
    let prefix = if isolated { "isolated::" } else { "" };
    Trial::test(format!("{prefix}{name}"), move || {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        let outcome = runtime.block_on(async {
            let late = |_| anyhow::anyhow!("the test did not end within {DEADLINE:?}");
            let body = ISOLATED.scope(isolated, body());
            tokio::time::timeout(DEADLINE, body).await.map_err(late)?
        });
        // Tasks that a test has left behind must not delay the next test.
        runtime.shutdown_background();
        outcome.map_err(|error| Failed::from(format!("{error:#}")))
    })
}

/// Lists async functions of the module as tests: `tests![one, another]`. A function that is not
/// listed is dead code, which the compiler reports.
#[macro_export]
macro_rules! tests {
    ($($name:ident),* $(,)?) => {
        vec![$($crate::trial(
            concat!(module_path!(), "::", stringify!($name)),
            || Box::pin($name()),
        )),*]
    };
}
