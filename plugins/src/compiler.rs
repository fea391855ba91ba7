//! A compiler that was found to work on this machine, and how it is found.

use std::env;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail};

use crate::command::{command, run, stdout_of};
use crate::packages;
use crate::toolchain::{Probe, Toolchain};

/// The error of a compiler can be long; the first words are enough as a reason.
const REASON_WORDS: usize = 40;

pub(crate) struct Compiler {
    toolchain: &'static Toolchain,
    /// The target folder of the language.
    target: PathBuf,
    /// The program and its first arguments.
    line: String,
}

impl Compiler {
    /// The first compiler that works, or one line that says what is needed.
    pub(crate) fn find(
        toolchain: &'static Toolchain,
        target: &Path,
        progress: &impl Fn(&str),
    ) -> Result<Self, String> {
        progress(&format!("looking for a compiler for {}", toolchain.language));
        let named = named(toolchain);
        if named.is_none() {
            packages::install(toolchain, target, progress).map_err(one_line)?;
        }
        let mut needs = toolchain.needs.to_owned();
        for line in candidates(toolchain, named.as_deref()) {
            let compiler = Self { toolchain, target: target.to_owned(), line };
            let Err(error) = compiler.probe() else { return Ok(compiler) };
            if named.is_some() {
                needs = one_line(error.context(format!("{} does not work", toolchain.variable)));
            }
        }
        Err(needs)
    }

    /// The command line of the compiler.
    pub(crate) fn line(&self) -> &str {
        &self.line
    }

    /// Compiles the sources in `folder` to `wasm`.
    pub(crate) fn make(&self, folder: &Path, wasm: &Path) -> anyhow::Result<()> {
        // An earlier file must not be mistaken for the new one.
        let _ = fs::remove_file(wasm);
        let line = format!("{} {}", self.line, self.toolchain.arguments);
        let mut command = self.command(&line, folder, wasm)?;
        run(&mut command, |_| ())?;
        let made = fs::read(wasm).with_context(|| format!("cannot read {}", wasm.display()))?;
        if !made.starts_with(b"\0asm") {
            bail!("`{}` produced no wasm: it compiles for this machine", self.line);
        }
        Ok(())
    }

    fn probe(&self) -> anyhow::Result<()> {
        match self.toolchain.probe {
            Probe::Makes(source) => {
                let folder = self.target.join("trial");
                let file = folder.join("trial").with_extension(self.toolchain.extension);
                fs::create_dir_all(&folder)
                    .and_then(|()| fs::write(&file, source))
                    .with_context(|| format!("cannot write {}", file.display()))?;
                self.make(&folder, &folder.join("trial.wasm"))
            }
            Probe::Says(arguments, expected) => {
                let line = format!("{} {arguments}", self.line);
                let said = stdout_of(&mut self.command(&line, &self.target, Path::new(""))?);
                match said {
                    Some(said) if said.contains(expected) => Ok(()),
                    said => bail!("`{line}` says {said:?}, not `{expected}…`"),
                }
            }
        }
    }

    fn command(&self, line: &str, folder: &Path, wasm: &Path) -> anyhow::Result<Command> {
        let fill = |word: &str| {
            word.replace("{folder}", &folder.to_string_lossy())
                .replace("{wasm}", &wasm.to_string_lossy())
        };
        let mut words = line.split_whitespace();
        let mut command = command(fill(words.next().context("there is no compiler to run")?));
        for word in words {
            match word {
                "{sources}" => command.args(self.toolchain.sources_in(folder)),
                word => command.arg(fill(word)),
            };
        }
        command.envs(self.toolchain.environment.iter().copied()).current_dir(&self.target);
        Ok(command)
    }
}

/// The value of the toolchain's variable, if it is set.
pub(crate) fn named(toolchain: &Toolchain) -> Option<String> {
    let value = env::var_os(toolchain.variable)?;
    Some(value.to_str()?.trim().to_owned()).filter(|value| !value.is_empty())
}

/// The compilers to try, best first.
fn candidates(toolchain: &Toolchain, named: Option<&str>) -> Vec<String> {
    let known = || toolchain.compilers.iter().map(|line| (*line).to_owned()).collect();
    named.map_or_else(known, |line| vec![line.to_owned()])
}

/// Converts an error to one line, for a table and for names of ignored tests.
fn one_line(error: anyhow::Error) -> String {
    let words: Vec<_> =
        format!("{error:#}").split_whitespace().take(REASON_WORDS).map(str::to_owned).collect();
    words.join(" ")
}

impl Toolchain {
    /// The source files in a guest's folder, by name.
    pub(crate) fn sources_in(&self, folder: &Path) -> Vec<PathBuf> {
        crate::places::entries(folder, |path| path.extension() == Some(OsStr::new(self.extension)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::toolchain::TOOLCHAINS;

    #[test]
    fn a_named_compiler_is_the_only_one_tried() {
        let c = &TOOLCHAINS[0];
        assert_eq!(
            candidates(c, Some("/opt/wasi-sdk/bin/clang -O2")),
            ["/opt/wasi-sdk/bin/clang -O2"]
        );
        assert_eq!(candidates(c, None), c.compilers);
    }

    #[test]
    fn a_command_line_is_filled_word_by_word() {
        let target = PathBuf::from("/target");
        let compiler = Compiler { toolchain: &TOOLCHAINS[0], target, line: "cc".into() };
        let (folder, wasm) = (Path::new("/a folder"), Path::new("/b c.wasm"));
        let command = compiler.command("cc -I{folder}/x -o {wasm}", folder, wasm).unwrap();
        assert_eq!(command.get_program(), "cc");
        assert_eq!(command.get_args().collect::<Vec<_>>(), ["-I/a folder/x", "-o", "/b c.wasm"]);
        assert!(compiler.command("", Path::new(""), Path::new("")).is_err());
    }

    #[cfg(unix)]
    #[test]
    fn a_compiler_for_this_machine_is_refused() {
        let target = env::temp_dir().join(format!("jobwright-compiler-{}", std::process::id()));
        fs::create_dir_all(&target).unwrap();
        let compiler =
            Compiler { toolchain: &TOOLCHAINS[0], target: target.clone(), line: "true".into() };
        let error = compiler.make(&target, &target.join("trial.wasm")).unwrap_err();
        assert!(error.to_string().starts_with("cannot read"), "{error}");
        fs::remove_dir_all(&target).unwrap();
    }
}
