//! The Rust guests: a cargo workspace of their own, and the choice of the compiler for it.
//!
//! Cargo decides what is out of date, so it is always run. The compiler is the installed one if it has the
//! target, or if rustup can add it; otherwise one that a script sets up.
//!
//! A guest is a command, unless its `Cargo.toml` has a line `abi = "…"`. Components are linked by
//! `wasm-component-ld`, which rustup's toolchains have, so one target is enough for all.

use std::cell::Cell;
use std::env;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, bail};

use crate::command::{command, run, stdout_of, succeeds_within};
use crate::places::{Places, entries, name_of, root, sources};
use crate::{Abi, Availability, Language, Plugin};

const TARGET: &str = "wasm32-wasip1";

/// The target that builds components from programs.
const COMPONENTS: &str = "wasm32-wasip2";

/// Flags that build a component from a library for [`TARGET`]; the adapter maps preview 1 calls of std to
/// the world of `wasi:http`.
const COMPONENT: [&str; 2] = ["-Clinker=wasm-component-ld", "-Clink-arg=--wasi-adapter=proxy"];

/// The time limit of rustup, for a download of some 20 MB: after that the network is too slow.
const RUSTUP_LIMIT: Duration = Duration::from_secs(120);

/// The compiler for the Rust guests.
#[derive(Debug, PartialEq, Eq)]
enum Compiler {
    /// The installed `rustc`.
    Own,
    /// The compiler that the script sets up, in this folder.
    Fallback(PathBuf),
}

pub(crate) fn build(places: &Places, progress: &impl Fn(&str)) -> anyhow::Result<Vec<Plugin>> {
    let compiler = choose(places, progress)?;
    let target = compiler.target_folder(places);
    let built = target.join(TARGET).join("release");
    let mut plugins = guests(&built)?;
    let components = plugins.iter().filter(|plugin| plugin.abi == Abi::Http);

    let announced = Cell::new(false);
    let run = |mut cargo: Command| {
        run(&mut cargo, |line| {
            if line.trim_start().starts_with("Compiling") && !announced.replace(true) {
                progress(&format!(
                    "building the Rust guests for {TARGET}, which may take a minute"
                ));
            }
        })
    };
    let mut modules = compiler.cargo("build", TARGET, &target);
    modules.arg("--workspace");
    for component in components.clone() {
        modules.args(["--exclude", &component.name]);
    }
    run(modules)?;
    for component in components {
        let mut cargo = compiler.cargo("rustc", TARGET, &target);
        cargo.args(["--package", &component.name, "--lib", "--"]).args(COMPONENT);
        run(cargo)?;
    }
    let jobs = typed_jobs(&plugins, &compiler, &target)?;
    for job in &jobs {
        if let Availability::Built(_) = job.availability {
            let mut cargo = compiler.cargo("build", COMPONENTS, &target);
            cargo.args(["--package", &name_of(&job.folder)]);
            run(cargo)?;
        }
    }
    plugins.extend(jobs);
    plugins.iter().try_for_each(check)?;
    Ok(plugins)
}

/// The guests of the workspace, whose modules are in `built`.
fn guests(built: &Path) -> anyhow::Result<Vec<Plugin>> {
    let folders = entries(&workspace(), |folder| folder.join("Cargo.toml").is_file());
    folders.into_iter().map(|folder| plugin(folder, built)).collect()
}

fn plugin(folder: PathBuf, built: &Path) -> anyhow::Result<Plugin> {
    let manifest = folder.join("Cargo.toml");
    let text = fs::read_to_string(&manifest)
        .with_context(|| format!("cannot read {}", manifest.display()))?;
    let (name, abi) = (name_of(&folder), abi(&text)?);
    let file = match abi {
        Abi::Command => name.clone(),
        // The file of a library has underscores instead of dashes.
        _ => name.replace('-', "_"),
    };
    let availability = Availability::Built(built.join(file).with_extension("wasm"));
    Ok(Plugin { name, language: Language::Rust, abi, folder, availability })
}

/// The additional components of those `commands` whose manifests request one.
fn typed_jobs(
    commands: &[Plugin],
    compiler: &Compiler,
    target: &Path,
) -> anyhow::Result<Vec<Plugin>> {
    let mut jobs = Vec::new();
    for command in commands {
        let manifest = fs::read_to_string(command.folder.join("Cargo.toml"))?;
        if !manifest.lines().any(|line| line == "component = true") {
            continue;
        }
        let built = target.join(COMPONENTS).join("release").join(&command.name);
        let availability = match compiler {
            Compiler::Own if own_has_target(COMPONENTS) => {
                Availability::Built(built.with_extension("wasm"))
            }
            Compiler::Own => {
                Availability::Missing { reason: format!("needs `rustup target add {COMPONENTS}`") }
            }
            Compiler::Fallback(_) => Availability::Impossible {
                reason: format!("Debian's compiler has no target {COMPONENTS}"),
            },
        };
        let name = format!("{}-component", command.name);
        jobs.push(Plugin { name, abi: Abi::Job, availability, ..command.clone() });
    }
    Ok(jobs)
}

/// The ABI in the manifest `text`.
fn abi(text: &str) -> anyhow::Result<Abi> {
    match text.lines().find_map(|line| line.strip_prefix("abi = ")) {
        None => Ok(Abi::Command),
        Some(r#""http""#) => Ok(Abi::Http),
        Some(r#""extism""#) => Ok(Abi::Extism),
        Some(other) => bail!("the Rust guests know no abi {other}, only \"http\" and \"extism\""),
    }
}

fn check(plugin: &Plugin) -> anyhow::Result<()> {
    match &plugin.availability {
        Availability::Built(path) if !path.is_file() => {
            bail!("cargo made no {}: is `{}` a member?", path.display(), plugin.name)
        }
        _ => Ok(()),
    }
}

/// The folder that cargo is run in, so that it always uses the same configuration.
fn workspace() -> PathBuf {
    sources().join("rust")
}

fn choose(places: &Places, progress: &impl Fn(&str)) -> anyhow::Result<Compiler> {
    let forced = env::var_os("FORCE_FALLBACK").is_some_and(|value| !value.is_empty());
    if !forced && own_has_target(TARGET) {
        return Ok(Compiler::Own);
    }
    let prefix = places.wasm_rust.clone();
    // A fallback that is set up takes precedence over rustup, which may take its whole time limit to fail.
    let has = |name: &str| prefix.join(name).exists();
    if has("env.sh") && has("bin/wasm-component-ld") {
        return Ok(Compiler::Fallback(prefix));
    }
    if !forced && stdout_of(command("rustup").arg("--version")).is_some() {
        progress(&format!("asking rustup for the target {TARGET}"));
        let mut rustup = command("rustup");
        rustup.args(["target", "add", TARGET, COMPONENTS]).current_dir(workspace());
        if succeeds_within(RUSTUP_LIMIT, &mut rustup) && own_has_target(TARGET) {
            return Ok(Compiler::Own);
        }
    }
    set_up_fallback(&prefix, progress)?;
    Ok(Compiler::Fallback(prefix))
}

/// Flags that keep the paths of this machine out of the guests' panic messages. Encoded, since
/// paths may hold spaces.
fn remap_flags() -> OsString {
    let home = env::home_dir().unwrap_or_default().join(".cargo");
    let cargo = env::var_os("CARGO_HOME").map_or(home, PathBuf::from);
    let mut flags = OsString::new();
    for (from, to) in [(cargo.as_path(), "=/cargo\u{1f}"), (root(), "=/jobwright")] {
        flags.push("--remap-path-prefix=");
        flags.push(from);
        flags.push(to);
    }
    flags
}

/// Whether the standard library for the target is where `rustc` would look for it.
fn own_has_target(target: &str) -> bool {
    let mut rustc = command("rustc");
    rustc.args(["--print", "target-libdir", "--target", target]).current_dir(workspace());
    let entries = stdout_of(&mut rustc).and_then(|folder| fs::read_dir(folder).ok());
    entries
        .into_iter()
        .flatten()
        .flatten()
        .any(|entry| entry.file_name().to_str().is_some_and(|name| name.starts_with("libstd-")))
}

fn set_up_fallback(prefix: &Path, progress: &impl Fn(&str)) -> anyhow::Result<()> {
    progress(&format!("setting up a Rust compiler for {TARGET}, which takes some minutes"));
    let mut script = command("bash");
    script.arg(sources().join("setup-rust-wasm.sh")).env("WASM_RUST_PREFIX", prefix);
    run(&mut script, progress).with_context(|| {
        format!(
            "no Rust compiler for {TARGET} could be set up; `rustup target add {TARGET}` is the \
             usual remedy"
        )
    })
}

impl Compiler {
    /// The cargo command that uses this compiler for the target `what` in the folder `target`.
    fn cargo(&self, subcommand: &str, what: &str, target: &Path) -> Command {
        let mut cargo = match self {
            Self::Own => command("cargo"),
            Self::Fallback(prefix) => {
                let mut shell = command("bash");
                shell.args(["-c", r#". "$0/env.sh" && exec cargo "$@""#]).arg(prefix);
                shell
            }
        };
        cargo.current_dir(workspace()).env("CARGO_ENCODED_RUSTFLAGS", remap_flags());
        cargo.args([subcommand, "--release", "--locked", "--target", what]);
        cargo.arg("--target-dir").arg(target);
        cargo
    }

    fn target_folder(&self, places: &Places) -> PathBuf {
        match self {
            Self::Own => places.target.join("rust"),
            // As in its `env.sh`. Files of two compilers must not be mixed.
            Self::Fallback(prefix) => prefix.join("target"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guest_is_a_command_unless_its_manifest_says_otherwise() {
        assert_eq!(abi("[package]\nname = \"word-count\"").unwrap(), Abi::Command);
        let metadata = "[package.metadata.jobwright]\nabi = ";
        assert_eq!(abi(&format!("{metadata}\"http\"\n")).unwrap(), Abi::Http);
        assert!(abi(&format!("{metadata}\"smtp\"\n")).is_err());
    }
}
