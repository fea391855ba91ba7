//! The npm packages that a language's compiler is made of: those of the lock file in its folder,
//! installed into the target folder, so that the source tree stays as it is.

use std::fs;
use std::path::Path;

use anyhow::Context;

use crate::command::{command, run};
use crate::places::sources;
use crate::toolchain::Toolchain;

/// Installs what the language's lock file lists, unless there is none or it is installed.
pub(crate) fn install(
    toolchain: &Toolchain,
    target: &Path,
    progress: &impl Fn(&str),
) -> anyhow::Result<()> {
    let folder = sources().join(toolchain.folder);
    let Ok(lock) = fs::read_to_string(folder.join("package-lock.json")) else { return Ok(()) };
    // npm removes this folder before it begins, and the file with it.
    let stamp = target.join("node_modules/.installed-from");
    if fs::read_to_string(&stamp).is_ok_and(|installed| installed == lock) {
        return Ok(());
    }
    progress(&format!("installing the npm packages of plugins/{}", toolchain.folder));
    for name in ["package.json", "package-lock.json"] {
        fs::copy(folder.join(name), target.join(name))
            .with_context(|| format!("cannot copy {name} to {}", target.display()))?;
    }
    let mut npm = command("npm");
    // Scripts of packages have no business here, and would only download more.
    npm.args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"]).current_dir(target);
    run(&mut npm, |_| ()).context(toolchain.needs)?;
    fs::write(&stamp, lock).with_context(|| format!("cannot write {}", stamp.display()))
}
