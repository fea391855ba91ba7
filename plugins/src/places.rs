//! The folders of sources and targets. Owns the lock that serializes builds of several processes.

use std::env;
use std::ffi::OsString;
use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};

use anyhow::Context;

/// The folder of this package, with the guests in it.
pub(crate) fn sources() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The folder of the repository.
pub(crate) fn root() -> &'static Path {
    sources().parent().unwrap_or(sources())
}

/// The folders that a build writes.
#[derive(Debug)]
pub(crate) struct Places {
    /// The folder of all built files.
    pub(crate) target: PathBuf,
    /// The folder of the compiler that is used if rustup has none.
    pub(crate) wasm_rust: PathBuf,
}

impl Places {
    pub(crate) fn of_this_process() -> Self {
        Self::from_variables(|name| env::var_os(name).filter(|value| !value.is_empty()))
    }

    /// Relative paths start at the root of the repository, where the variable was probably set; the working
    /// folder of a test is that of its package.
    fn from_variables(variable: impl Fn(&str) -> Option<OsString>) -> Self {
        let folder = |name: &str| variable(name).map(|folder| root().join(folder));
        let target = folder("JOBWRIGHT_PLUGINS_TARGET").unwrap_or_else(|| {
            folder("CARGO_TARGET_DIR").unwrap_or_else(|| root().join("target")).join("plugins")
        });
        let wasm_rust = folder("WASM_RUST_PREFIX").unwrap_or_else(|| target.join("wasm-rust"));
        Self { target, wasm_rust }
    }

    /// Creates the target folder and locks it, after waiting for other processes that build there. The lock
    /// is released when the returned file is dropped.
    pub(crate) fn lock(&self, progress: &impl Fn(&str)) -> anyhow::Result<File> {
        fs::create_dir_all(&self.target)
            .with_context(|| format!("cannot make the folder {}", self.target.display()))?;
        let path = self.target.join("lock");
        let cannot = || format!("cannot lock {}", path.display());
        let file = File::create(&path).with_context(cannot)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                progress("waiting for another process that builds the plugins");
                file.lock().with_context(cannot)?;
            }
            Err(TryLockError::Error(error)) => return Err(error).with_context(cannot),
        }
        Ok(file)
    }
}

/// The entries of `folder` that are `wanted`, by name. Guests are found in this way, so there is no list
/// of them.
pub(crate) fn entries(folder: &Path, wanted: impl Fn(&Path) -> bool) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut found: Vec<_> = entries.map(|entry| entry.path()).filter(|path| wanted(path)).collect();
    found.sort_unstable();
    found
}

/// The last part of a path: the name of a guest is that of its folder.
pub(crate) fn name_of(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(variables: &[(&str, &str)]) -> Places {
        Places::from_variables(|name| {
            variables.iter().find(|(known, _)| *known == name).map(|(_, value)| value.into())
        })
    }

    #[test]
    fn the_target_folder_is_under_that_of_cargo_unless_named() {
        assert_eq!(places(&[]).target, root().join("target/plugins"));
        assert_eq!(places(&[("CARGO_TARGET_DIR", "/t")]).target, Path::new("/t/plugins"));
        assert_eq!(places(&[("CARGO_TARGET_DIR", "out")]).target, root().join("out/plugins"));
        let both = places(&[("CARGO_TARGET_DIR", "/t"), ("JOBWRIGHT_PLUGINS_TARGET", "/p")]);
        assert_eq!(both.target, Path::new("/p"));
    }

    #[test]
    fn the_fallback_compiler_is_in_the_target_folder_unless_named() {
        let default = places(&[("JOBWRIGHT_PLUGINS_TARGET", "/p")]);
        assert_eq!(default.wasm_rust, Path::new("/p/wasm-rust"));
        assert_eq!(places(&[("WASM_RUST_PREFIX", "/w")]).wasm_rust, Path::new("/w"));
    }

    #[test]
    fn guests_are_found_by_their_folders() {
        let rust = entries(&sources().join("rust"), |path| path.join("Cargo.toml").is_file());
        let names: Vec<_> = rust.iter().map(|path| name_of(path)).collect();
        assert_eq!(
            names,
            [
                "csv-stats",
                "primes",
                "process-order",
                "qr-code",
                "redact",
                "thumbnail",
                "webhook",
                "word-count"
            ]
        );
    }
}
