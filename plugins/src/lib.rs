//! Builds the example plugins on demand and hands out their paths, for tests, benches and the demo.
//!
//! [`build`] may be called from many processes at once, and again and again: the first call
//! compiles, the others wait for it and find everything done. It belongs into no build script: it
//! runs cargo, and may download.
//!
//! | module | owns |
//! |---|---|
//! | `rust` | the Rust guests, and which compiler makes them |
//! | `c` | the C guests, and which compiler makes them |
//! | `places` | where sources and targets are, and the lock on the target folder |
//! | `command` | running other programs |

mod c;
mod command;
mod places;
mod rust;

use std::path::PathBuf;

use anyhow::Context;

use places::Places;

/// All example plugins, built as far as this machine can.
#[derive(Debug, Clone)]
pub struct Plugins(Vec<Plugin>);

/// One example plugin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plugin {
    /// Its name, which is that of its folder.
    pub name: String,
    /// The language that it is written in.
    pub language: Language,
    /// Where it is, or why it is not.
    pub availability: Availability,
}

/// The language that a plugin is written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Language {
    /// Rust; these can always be built, or [`build`] fails.
    Rust,
    /// C; these are missing where no compiler for them is found.
    C,
}

/// Whether there is a `.wasm` file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Availability {
    /// Here it is.
    Built(PathBuf),
    /// A compiler is missing.
    Missing {
        /// One line that says what to install.
        reason: String,
    },
}

impl Plugins {
    /// Where the plugin `name` is, or why it is not.
    ///
    /// # Panics
    /// If there is no such example plugin: its name is then misspelt, which must not look like a
    /// plugin that is merely missing.
    #[must_use]
    pub fn get(&self, name: &str) -> &Availability {
        let known = || self.0.iter().map(|plugin| plugin.name.as_str()).collect::<Vec<_>>();
        let Some(plugin) = self.0.iter().find(|plugin| plugin.name == name) else {
            panic!("there is no example plugin `{name}`, only {}", known().join(", "));
        };
        &plugin.availability
    }

    /// All of them, by language and name.
    pub fn iter(&self) -> impl Iterator<Item = &Plugin> {
        self.0.iter()
    }
}

/// Builds every example plugin that is not up to date. What takes long is announced to `progress`,
/// a line each time; when nothing has to be done it is not called.
///
/// # Errors
/// If a Rust guest cannot be built, or the source of a C guest does not compile; the message says
/// what to do. A C guest for which there is no compiler is [`Availability::Missing`].
pub fn build(progress: impl Fn(&str)) -> anyhow::Result<Plugins> {
    let places = Places::of_this_process();
    let _lock = places.lock(&progress)?;
    let mut plugins = rust::build(&places, &progress).context("cannot build the Rust guests")?;
    plugins.extend(c::build(&places, &progress).context("cannot build the C guests")?);
    Ok(Plugins(plugins))
}

/// The sample input `name`: a file in `plugins/data/`, or in the folder of the C guest that reads
/// it.
#[must_use]
pub fn data(name: &str) -> PathBuf {
    let sources = places::sources();
    let beside = sources.join("c/access-log").join(name);
    if beside.is_file() { beside } else { sources.join("data").join(name) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_sample_is_found() {
        for name in ["alice.txt", "elements.csv", "order.json", "picture.png", "sample.log"] {
            assert!(data(name).is_file(), "{name}");
        }
    }

    #[test]
    #[should_panic(expected = "no example plugin `word-cuont`, only word-count")]
    fn a_misspelt_name_is_not_a_missing_plugin() {
        let built = Availability::Built("word-count.wasm".into());
        let plugin =
            Plugin { name: "word-count".into(), language: Language::Rust, availability: built };
        let _ = Plugins(vec![plugin]).get("word-cuont");
    }
}
