//! The npm packages of a language's compiler: those of the lock file in its folder, installed into the
//! target folder, so that the source tree is not changed.

use std::fs;
use std::path::Path;

use anyhow::Context;

use crate::command::{command, run};
use crate::places::sources;
use crate::toolchain::Toolchain;

/// Installs the packages of the language's lock file, if there is one and they are not installed.
pub(crate) fn install(
    toolchain: &Toolchain,
    target: &Path,
    progress: &impl Fn(&str),
) -> anyhow::Result<()> {
    let folder = sources().join(toolchain.folder);
    let Ok(lock) = fs::read_to_string(folder.join("package-lock.json")) else { return Ok(()) };
    let stamp = target.join("packages.installed-from");
    if fs::read_to_string(&stamp).is_ok_and(|installed| installed == lock) {
        return Ok(());
    }
    progress(&format!("installing the npm packages of plugins/{}", toolchain.folder));
    for name in ["package.json", "package-lock.json"] {
        fs::copy(folder.join(name), target.join(name))
            .with_context(|| format!("cannot copy {name} to {}", target.display()))?;
    }
    // Removed first, so that an interrupted installation does not look complete.
    let _ = fs::remove_file(&stamp);
    let mut npm = command("npm");
    // Not `ci`, which requires the optional packages of every platform, some of which may be unavailable.
    // Install scripts of packages are not needed, and would download more.
    npm.args(["install", "--no-save", "--ignore-scripts", "--no-audit", "--no-fund"]);
    npm.arg("--loglevel=error").current_dir(target);
    run(&mut npm, |_| ()).context(toolchain.needs)?;
    fs::write(&stamp, lock).with_context(|| format!("cannot write {}", stamp.display()))
}
