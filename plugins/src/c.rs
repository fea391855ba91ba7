//! The C guests: one folder, one `.wasm` each, made by the first C compiler that can.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

use crate::command::{command, run};
use crate::places::{Places, entries, name_of, sources};
use crate::{Availability, Language, Plugin};

/// For size, and with a stack that leaves a small job's memory small: zig's own default is 16 MiB.
const FLAGS: [&str; 6] = ["-std=c11", "-Os", "-s", "-Wall", "-Wextra", "-Wl,-z,stack-size=131072"];

const NEEDS: &str = "needs clang with the wasm32-wasi target or the Python package ziglang";

/// Needs the headers, the library and the linker, as a guest does.
const TRIAL: &str = "#include <stdio.h>\nint main(void) { return puts(\"\") < 0; }\n";

pub(crate) fn build(places: &Places, progress: &impl Fn(&str)) -> anyhow::Result<Vec<Plugin>> {
    let target = places.target.join("c");
    fs::create_dir_all(&target).with_context(|| format!("cannot make {}", target.display()))?;
    let folders = entries(&sources().join("c"), |folder| !files(folder).is_empty());
    let mut compiler = None;
    let mut plugins = Vec::new();
    for folder in folders {
        let guest = Guest::new(&folder, &target)?;
        let mut availability = Availability::Built(guest.wasm.clone());
        if !guest.is_current() {
            match compiler.get_or_insert_with(|| find_compiler(&target, progress)) {
                Ok(compiler) => {
                    progress(&format!("building {} with `{}`", guest.name, compiler.join(" ")));
                    guest.make(compiler)?;
                }
                Err(reason) => availability = Availability::Missing { reason: reason.clone() },
            }
        }
        plugins.push(Plugin { name: guest.name, language: Language::C, availability });
    }
    Ok(plugins)
}

struct Guest {
    name: String,
    files: Vec<PathBuf>,
    wasm: PathBuf,
    /// Beside the wasm: all that it was made from. Times would miss an older file that was put
    /// back, and a change of the flags.
    stamp: PathBuf,
    made_from: String,
}

impl Guest {
    fn new(folder: &Path, target: &Path) -> anyhow::Result<Self> {
        let (name, files) = (name_of(folder), files(folder));
        let mut made_from = format!("{}\n{FLAGS:?}\n", wasi_cc().unwrap_or_default());
        for file in &files {
            let text = fs::read_to_string(file);
            made_from += &text.with_context(|| format!("cannot read {}", file.display()))?;
        }
        let wasm = target.join(format!("{name}.wasm"));
        Ok(Self { stamp: wasm.with_extension("made-from"), name, files, wasm, made_from })
    }

    fn is_current(&self) -> bool {
        self.wasm.is_file() && fs::read_to_string(&self.stamp).is_ok_and(|s| s == self.made_from)
    }

    fn make(&self, compiler: &[String]) -> anyhow::Result<()> {
        compile(compiler, &self.files, &self.wasm)?;
        fs::write(&self.stamp, &self.made_from)
            .with_context(|| format!("cannot write {}", self.stamp.display()))
    }
}

fn files(folder: &Path) -> Vec<PathBuf> {
    entries(folder, |path| path.extension().is_some_and(|extension| extension == "c"))
}

fn wasi_cc() -> Option<String> {
    env::var("WASI_CC").ok().filter(|value| !value.trim().is_empty())
}

/// The compilers to try, best first: zig brings its own libc, clang needs one.
fn candidates(wasi_cc: Option<&str>) -> Vec<Vec<String>> {
    let split = |line: &str| line.split_whitespace().map(str::to_owned).collect();
    if let Some(named) = wasi_cc {
        return vec![split(named)];
    }
    [
        "python3 -m ziglang cc -target wasm32-wasi",
        "zig cc -target wasm32-wasi",
        // The stack first, so that an overflow traps instead of writing over data; zig does that
        // by itself.
        "clang --target=wasm32-wasi -Wl,--stack-first",
        // Where Debian's wasi-libc is.
        "clang --target=wasm32-wasi -Wl,--stack-first --sysroot=/usr",
    ]
    .map(split)
    .into()
}

/// The first one that links a trivial program (that a program of the name exists says little), or
/// what is needed.
fn find_compiler(target: &Path, progress: &impl Fn(&str)) -> Result<Vec<String>, String> {
    progress("looking for a C compiler for WASI");
    let (source, wasm) = (target.join("trial.c"), target.join("trial.wasm"));
    fs::write(&source, TRIAL).map_err(|error| format!("cannot write a trial program: {error}"))?;
    let named = wasi_cc();
    let mut needs = NEEDS.to_owned();
    for compiler in candidates(named.as_deref()) {
        let Err(error) = compile(&compiler, std::slice::from_ref(&source), &wasm) else {
            return Ok(compiler);
        };
        if named.is_some() {
            needs = format!("WASI_CC does not compile for WASI: {error}").replace('\n', " ");
        }
    }
    Err(needs)
}

fn compile(compiler: &[String], sources: &[PathBuf], wasm: &Path) -> anyhow::Result<()> {
    let (program, args) = compiler.split_first().context("there is no compiler to run")?;
    run(command(program).args(args).args(FLAGS).args(sources).arg("-o").arg(wasm), |_| ())?;
    let made = fs::read(wasm).with_context(|| format!("cannot read {}", wasm.display()))?;
    if !made.starts_with(b"\0asm") {
        bail!("`{program}` made no wasm: it compiles for this machine");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_named_compiler_is_the_only_one_tried() {
        let named = candidates(Some("/opt/wasi-sdk/bin/clang  -O2"));
        assert_eq!(named, [["/opt/wasi-sdk/bin/clang", "-O2"]]);
        assert_eq!(candidates(None)[0][0], "python3");
    }

    #[test]
    fn a_guest_is_current_until_its_source_changes() {
        let folder = env::temp_dir().join(format!("jobwright-c-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let write = |name: &str, text: &str| fs::write(folder.join(name), text).unwrap();
        write("main.c", "int main(void) { return 0; }");
        let guest = || Guest::new(&folder, &folder).unwrap();
        assert!(!guest().is_current());
        fs::write(guest().wasm, "wasm").unwrap();
        fs::write(guest().stamp, guest().made_from).unwrap();
        assert!(guest().is_current());
        write("main.c", "int main(void) { return 1; }");
        assert!(!guest().is_current());
        fs::remove_dir_all(&folder).unwrap();
    }
}
