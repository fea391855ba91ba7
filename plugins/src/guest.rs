//! One guest: a folder of sources and the `.wasm` that is built from it when they have changed.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;

use crate::compiler::{Compiler, named};
use crate::places::{Places, entries, name_of, sources};
use crate::toolchain::Toolchain;
use crate::{Availability, Plugin};

/// Files among the sources that do not affect the `.wasm`.
const NOT_SOURCES: [&str; 3] = ["README.md", "__pycache__", "samples"];

/// All guests in one language, built if a compiler is found.
pub(crate) fn build(
    toolchain: &'static Toolchain,
    places: &Places,
    progress: &impl Fn(&str),
) -> anyhow::Result<Vec<Plugin>> {
    let target = places.target.join(toolchain.folder);
    fs::create_dir_all(&target).with_context(|| format!("cannot make {}", target.display()))?;
    let language = sources().join(toolchain.folder);
    let folders = entries(&language, |folder| !toolchain.sources_in(folder).is_empty());
    let mut compiler = None;
    let mut plugins = Vec::new();
    for folder in folders {
        let guest = Guest::new(toolchain, &folder, &target)?;
        let mut availability = Availability::Built(guest.wasm.clone());
        if !guest.is_current() {
            match compiler.get_or_insert_with(|| Compiler::find(toolchain, &target, progress)) {
                Ok(compiler) => {
                    progress(&format!("building {} with `{}`", guest.name, compiler.line()));
                    guest.make(compiler).with_context(|| format!("cannot build {}", guest.name))?;
                }
                Err(reason) => availability = Availability::Missing { reason: reason.clone() },
            }
        }
        let (language, abi) = (toolchain.language, toolchain.abi);
        plugins.push(Plugin { name: guest.name, language, abi, folder, availability });
    }
    Ok(plugins)
}

struct Guest {
    name: String,
    folder: PathBuf,
    wasm: PathBuf,
    /// A file next to the wasm with everything that it was built from. Modification times would miss a
    /// restored older file, and a change of the command.
    stamp: PathBuf,
    made_from: Vec<u8>,
}

impl Guest {
    fn new(toolchain: &Toolchain, folder: &Path, target: &Path) -> anyhow::Result<Self> {
        let compiler = named(toolchain).unwrap_or_default();
        let mut made_from = format!("{compiler}\n{}\n", toolchain.arguments).into_bytes();
        // Files next to the guests' folders belong to all guests.
        let shared = folder.parent().map(|language| entries(language, Path::is_file));
        for path in shared.into_iter().flatten() {
            add(&path, &mut made_from)?;
        }
        add(folder, &mut made_from)?;
        let name = name_of(folder);
        let wasm = target.join(format!("{name}.wasm"));
        let stamp = wasm.with_extension("made-from");
        Ok(Self { name, folder: folder.to_owned(), wasm, stamp, made_from })
    }

    fn is_current(&self) -> bool {
        self.wasm.is_file() && fs::read(&self.stamp).is_ok_and(|stamp| stamp == self.made_from)
    }

    fn make(&self, compiler: &Compiler) -> anyhow::Result<()> {
        // Removed first, so that an interrupted build does not look current.
        let _ = fs::remove_file(&self.stamp);
        compiler.make(&self.folder, &self.wasm)?;
        fs::write(&self.stamp, &self.made_from)
            .with_context(|| format!("cannot write {}", self.stamp.display()))
    }
}

/// Adds the names and contents of all sources in `path` to `made_from`.
fn add(path: &Path, made_from: &mut Vec<u8>) -> anyhow::Result<()> {
    let name = name_of(path);
    if NOT_SOURCES.contains(&name.as_str()) {
        return Ok(());
    }
    if path.is_dir() {
        return entries(path, |_| true).iter().try_for_each(|entry| add(entry, made_from));
    }
    let content = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    made_from.extend_from_slice(format!("\n{name}, {} bytes:\n", content.len()).as_bytes());
    made_from.extend(content);
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::env;

    use super::*;
    use crate::toolchain::TOOLCHAINS;

    #[test]
    fn a_guest_is_current_until_a_source_changes() {
        let language = env::temp_dir().join(format!("jobwright-guest-{}", std::process::id()));
        let folder = language.join("guest");
        let target = language.join("target");
        fs::create_dir_all(folder.join("samples")).unwrap();
        fs::create_dir_all(&target).unwrap();
        let write = |name: &str, text: &str| fs::write(folder.join(name), text).unwrap();
        let guest = || Guest::new(&TOOLCHAINS[0], &folder, &target).unwrap();
        let make = || {
            fs::write(guest().wasm, "wasm").unwrap();
            fs::write(guest().stamp, guest().made_from).unwrap();
        };
        write("main.c", "int main(void) { return 0; }");
        assert!(!guest().is_current());
        make();
        write("samples/sample.out", "1");
        write("README.md", "text");
        assert!(guest().is_current(), "samples and the README change nothing");
        write("main.c", "int main(void) { return 1; }");
        assert!(!guest().is_current());
        make();
        fs::write(language.join("package-lock.json"), "{}").unwrap();
        assert!(!guest().is_current(), "files next to its folder count");
        fs::remove_dir_all(&language).unwrap();
    }
}
