//! The limits: each law for every ABI, in this process and with each attempt in a process of its own.
//!
//! A file holds the laws of one limit, in pairs: guests that stay within it, and guests that exceed it.
//! A law is written once, in functions that guests of all ABIs have ([`abis::Source`]), and becomes a
//! named test of each ABI. A new ABI is an entry in [`abis::ABIS`]. What only one ABI can do is tested
//! in `tests/runtime`.

mod abis;
mod cancel;
mod fuel;
mod log;
mod memory;
mod output;
mod resources;
mod stack;
mod tables;
mod time;

use jobwright::runtime::RuntimeConfig;
use jobwright_core::Attempt;
use jobwright_core::limits::Limits;
use jobwright_core::runtime::Ended;
use jobwright_tests::{Running, isolated, trial};
use libtest_mimic::Trial;

use self::abis::{ABIS, Abi, Source};
use crate::runtime::fixture::{RuntimeFixture, attempt, small};

/// A law and its name.
type Law = (&'static str, fn(&'static Abi) -> Running);

/// Lists async functions of a module as its laws.
macro_rules! laws {
    ($($name:ident),* $(,)?) => {
        pub(super) const LAWS: &[super::Law] =
            &[$((stringify!($name), |abi| Box::pin(async move {
                $name(super::Bench::new(abi)?).await
            }))),*];
    };
}
use laws;

/// The laws of each limit.
const LIMITS: &[(&str, &[Law])] = &[
    ("cancel", cancel::LAWS),
    ("fuel", fuel::LAWS),
    ("log", log::LAWS),
    ("memory", memory::LAWS),
    ("output", output::LAWS),
    ("resources", resources::LAWS),
    ("stack", stack::LAWS),
    ("tables", tables::LAWS),
    ("time", time::LAWS),
];

pub fn trials() -> Vec<Trial> {
    let mut trials: Vec<Trial> = listed().into_iter().chain(isolated(listed)).collect();
    trials.extend(jobwright_tests::tests![every_exception_names_a_law_and_a_reason]);
    trials
}

fn listed() -> Vec<Trial> {
    let mut trials = Vec::new();
    for (limit, laws) in LIMITS {
        for abi in ABIS {
            let exists = |law: &&Law| !abi.without.iter().any(|(name, _)| *name == law.0);
            trials.extend(laws.iter().filter(exists).map(|(name, law)| {
                let (name, law) =
                    (format!("{}::{limit}::{}::{name}", module_path!(), abi.name), *law);
                trial(&name, move || law(abi))
            }));
        }
    }
    trials
}

async fn every_exception_names_a_law_and_a_reason() -> anyhow::Result<()> {
    let is_law = |name| LIMITS.iter().any(|(_, laws)| laws.iter().any(|law| law.0 == name));
    for (name, reason) in ABIS.iter().flat_map(|abi| abi.without) {
        anyhow::ensure!(is_law(*name) && !reason.is_empty(), "{name}");
    }
    Ok(())
}

/// A runtime for guests of one ABI.
struct Bench {
    abi: &'static Abi,
    fixture: RuntimeFixture,
}

impl Bench {
    fn new(abi: &'static Abi) -> anyhow::Result<Self> {
        Self::with(abi, small())
    }

    fn with(abi: &'static Abi, config: RuntimeConfig) -> anyhow::Result<Self> {
        Ok(Self { abi, fixture: RuntimeFixture::with(config)? })
    }

    /// The guest that runs `body`, with the definitions `rest`.
    fn guest(&self, rest: &str, body: &str) -> anyhow::Result<Vec<u8>> {
        (self.abi.build)(&Source { rest, body })
    }

    /// Runs the guest that does `body` under limits that `change` makes of the default ones.
    async fn run(&self, body: &str, change: impl FnOnce(&mut Limits)) -> anyhow::Result<Ended> {
        self.run_with("", body, change).await
    }

    /// As [`run`](Self::run), with the definitions `rest`.
    async fn run_with(
        &self,
        rest: &str,
        body: &str,
        change: impl FnOnce(&mut Limits),
    ) -> anyhow::Result<Ended> {
        self.fixture.try_wasm(self.guest(rest, body)?, change).await
    }

    /// An attempt of the guest that logs `here` and runs `body`.
    fn telling(&self, body: &str) -> anyhow::Result<Attempt> {
        let word = r#"(data (i32.const 1024) "here")"#;
        let body = format!("(call $tell (i32.const 1024) (i32.const 4)) {body}");
        attempt(self.fixture.plugins.add(self.guest(word, &body)?))
    }

    /// The log after a guest logged `words`.
    fn line(&self, words: &str) -> String {
        let (before, after) = self.abi.line;
        format!("{before}{words}{after}")
    }
}
