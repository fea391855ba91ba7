//! Builds the example plugins on demand and hands out their paths, for tests, benches and the demo.
//!
//! [`build`] may be called repeatedly and by many processes at once: the first call compiles, the others
//! wait for it and find everything built. Do not call it in a build script: it runs cargo, and may
//! download.
//!
//! | module | owns |
//! |---|---|
//! | `language` | the languages and ABIs |
//! | `toolchain` | the table of languages except Rust: compilers and arguments |
//! | `guest` | one guest of that table: its sources, and whether they have changed |
//! | `compiler` | finding the compiler of a row, and calling it |
//! | `packages` | the npm packages of some compilers |
//! | `rust` | the Rust guests, and the choice of their compiler |
//! | `sample` | the sample payloads of a plugin, and the expected results |
//! | `places` | the folders of sources and targets, and the lock on the target folder |
//! | `command` | running other programs |

mod command;
mod compiler;
mod guest;
mod language;
mod packages;
mod places;
mod rust;
mod sample;
mod toolchain;

use std::path::{Path, PathBuf};

use anyhow::Context;

use places::Places;

pub use language::{Abi, Language};
pub use sample::{Expected, Sample};

/// All example plugins, built if this machine has the compilers.
#[derive(Debug, Clone)]
pub struct Plugins(Vec<Plugin>);

/// One example plugin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plugin {
    /// The name of its folder, with a suffix for a second form of the same source.
    pub name: String,
    /// The language that it is written in.
    pub language: Language,
    /// Its ABI.
    pub abi: Abi,
    /// The folder of its source.
    pub folder: PathBuf,
    /// Its file, or why there is none.
    pub availability: Availability,
}

impl Plugin {
    /// The path of its `.wasm` file.
    ///
    /// # Errors
    /// One line with the reason why there is none.
    pub fn wasm(&self) -> Result<&Path, &str> {
        match &self.availability {
            Availability::Built(path) => Ok(path),
            Availability::Missing { reason } | Availability::Impossible { reason } => Err(reason),
        }
    }

    /// Sample payloads and their expected results, by name, from its folder `samples`.
    #[must_use]
    pub fn samples(&self) -> Vec<Sample> {
        sample::samples(&self.folder.join("samples"))
    }

    /// The sample `name`.
    ///
    /// # Panics
    /// If there is no sample of this name.
    #[must_use]
    pub fn sample(&self, name: &str) -> Sample {
        let found = self.samples().into_iter().find(|sample| sample.name == name);
        found.unwrap_or_else(|| panic!("`{}` has no sample `{name}`", self.name))
    }
}

/// Whether there is a `.wasm` file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Availability {
    /// The path of the file.
    Built(PathBuf),
    /// A compiler is missing.
    Missing {
        /// One line that says what to install.
        reason: String,
    },
    /// The chosen compiler cannot build it.
    Impossible {
        /// One line that says what the compiler lacks.
        reason: String,
    },
}

impl Plugins {
    /// The plugin `name`.
    ///
    /// # Panics
    /// If there is no example plugin of this name, as opposed to one whose compiler is missing.
    #[must_use]
    pub fn get(&self, name: &str) -> &Plugin {
        let known = || self.0.iter().map(|plugin| plugin.name.as_str()).collect::<Vec<_>>();
        let Some(plugin) = self.0.iter().find(|plugin| plugin.name == name) else {
            panic!("there is no example plugin `{name}`, only {}", known().join(", "));
        };
        plugin
    }

    /// All example plugins, by language and name.
    pub fn iter(&self) -> impl Iterator<Item = &Plugin> {
        self.0.iter()
    }
}

/// Builds every example plugin that is not up to date. Long steps are reported to `progress`, one line
/// each; it is not called if nothing has to be built.
///
/// # Errors
/// If a Rust guest cannot be built, or the source of another does not compile; the message says what to
/// do. A guest without a compiler is [`Availability::Missing`].
pub fn build(progress: impl Fn(&str)) -> anyhow::Result<Plugins> {
    let places = Places::of_this_process();
    let _lock = places.lock(&progress)?;
    let mut plugins = rust::build(&places, &progress).context("cannot build the Rust guests")?;
    for toolchain in &toolchain::TOOLCHAINS {
        plugins.extend(guest::build(toolchain, &places, &progress)?);
    }
    Ok(Plugins(plugins))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::places::{entries, sources};

    #[test]
    fn each_guest_has_a_readme_of_three_lines_and_samples_that_expect_something() {
        let languages = entries(sources(), |folder| folder.is_dir());
        let guests: Vec<_> = languages
            .iter()
            .flat_map(|folder| entries(folder, |guest| guest.join("README.md").is_file()))
            .collect();
        assert!(guests.len() >= 5, "{guests:?}");
        for guest in guests {
            let readme = std::fs::read_to_string(guest.join("README.md")).unwrap();
            assert_eq!(readme.lines().count(), 3, "{}", guest.display());
            let samples = sample::samples(&guest.join("samples"));
            let succeeds = |sample: &Sample| matches!(sample.expected, Expected::Output(_));
            // A plugin that needs grants fails without them.
            let shows = if readme.contains("Needs grants") {
                !samples.is_empty()
            } else {
                samples.iter().any(succeeds)
            };
            assert!(shows, "{}", guest.display());
            for sample in samples {
                assert_ne!(sample.expected, Expected::Failure(String::new()), "{sample:?}");
            }
        }
    }

    #[test]
    #[should_panic(expected = "no example plugin `word-cuont`, only word-count")]
    fn a_misspelt_name_is_not_a_missing_plugin() {
        let built = Availability::Built("word-count.wasm".into());
        let plugin = Plugin {
            name: "word-count".into(),
            language: Language::Rust,
            abi: Abi::Command,
            folder: PathBuf::new(),
            availability: built,
        };
        let _ = Plugins(vec![plugin]).get("word-cuont");
    }
}
