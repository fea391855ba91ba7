//! The other side of the [compiler](super::compiler): the process that compiles one plugin, what it is asked to do,
//! and how it answers.

use std::io::{self, Read as _, Write as _};
use std::process::ExitCode;

use anyhow::Context as _;
use jobwright_core::text;

/// The variable that makes a process a compiler process: its value is a [`CompileRequest`].
pub(super) const REQUEST: &str = "JOBWRIGHT_COMPILE";

/// Precedes the code, to detect a program that is not a compiler process.
pub(super) const MAGIC: &[u8] = b"jobwright compiled\n";

/// The prefix of lines by which a process reports what its sandbox lacks.
pub(super) const LACKS: &str = "the sandbox lacks ";

/// The exit code for a plugin that does not compile (`EX_DATAERR`).
pub(super) const REJECTED: u8 = 65;

/// The maximum length of an error message, in bytes.
pub(super) const REASON_BYTES: u64 = 4096;

/// The request to a compiler process.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct CompileRequest {
    /// The profile of the runtime to compile for.
    pub(crate) profile: String,
    /// The maximum processor time.
    pub(super) seconds: u64,
    /// The maximum address space.
    pub(super) memory_bytes: u64,
}

impl std::fmt::Display for CompileRequest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {} {}", self.profile, self.seconds, self.memory_bytes)
    }
}

impl CompileRequest {
    /// The request to this process, if it is a compiler process.
    pub(crate) fn of_this_process() -> Option<anyhow::Result<Self>> {
        let text = std::env::var(REQUEST).ok()?;
        let invalid = || format!("{REQUEST} is `{text}`, which is not a request to compile");
        Some(Self::parse(&text).with_context(invalid))
    }

    fn parse(text: &str) -> Option<Self> {
        let mut words = text.split(' ');
        let profile = words.next()?.to_owned();
        let mut number = || words.next()?.parse().ok();
        Some(Self { profile, seconds: number()?, memory_bytes: number()? })
    }

    /// Limits and confines this process, reads a plugin, and writes the result of `compile`. `confine` returns
    /// the parts of the sandbox that the system does not support; if it fails, nothing is compiled.
    pub(crate) fn run(
        &self,
        confine: impl FnOnce() -> anyhow::Result<Vec<String>>,
        compile: impl FnOnce(&[u8]) -> anyhow::Result<Vec<u8>>,
    ) -> ExitCode {
        match self.try_run(confine, compile) {
            Ok(Ok(())) => ExitCode::SUCCESS,
            Ok(Err(rejected)) => {
                let reason = format!("{rejected:#}");
                let most = usize::try_from(REASON_BYTES).unwrap_or(usize::MAX);
                let _ = io::stderr().write_all(text::start(reason.as_bytes(), most));
                ExitCode::from(REJECTED)
            }
            Err(broken) => {
                eprintln!("{broken:#}");
                ExitCode::FAILURE
            }
        }
    }

    fn try_run(
        &self,
        confine: impl FnOnce() -> anyhow::Result<Vec<String>>,
        compile: impl FnOnce(&[u8]) -> anyhow::Result<Vec<u8>>,
    ) -> anyhow::Result<anyhow::Result<()>> {
        self.limit_this_process().context("cannot limit the compiler process")?;
        // After that, limits cannot be changed and files cannot be opened.
        for missing in confine().context("cannot confine the compiler process")? {
            eprintln!("{LACKS}{missing}");
        }
        let mut wasm = Vec::new();
        io::stdin().read_to_end(&mut wasm)?;
        match compile(&wasm) {
            Ok(code) => {
                let mut output = io::stdout().lock();
                output.write_all(MAGIC)?;
                output.write_all(&code)?;
                output.flush()?;
                Ok(Ok(()))
            }
            Err(rejected) => Ok(Err(rejected)),
        }
    }

    #[cfg(unix)]
    fn limit_this_process(&self) -> io::Result<()> {
        use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
        let limit = |resource, soft: u64, hard: u64| {
            // A process cannot raise its hard limit; a lower one is strict enough.
            let inherited = getrlimit(resource).maximum.unwrap_or(u64::MAX);
            let (current, maximum) = (Some(soft.min(inherited)), Some(hard.min(inherited)));
            setrlimit(resource, Rlimit { current, maximum })
        };
        limit(Resource::As, self.memory_bytes, self.memory_bytes)?;
        // The soft limit sends SIGXCPU, by which the host recognizes it; the hard limit sends SIGKILL.
        limit(Resource::Cpu, self.seconds, self.seconds + 1)?;
        limit(Resource::Core, 0, 0)?;
        limit(Resource::Fsize, 0, 0)?;
        #[cfg(target_os = "linux")]
        rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?;
        Ok(())
    }

    #[cfg(not(unix))]
    fn limit_this_process(&self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_parsed_as_it_was_written() {
        let profile = "fuel".to_owned();
        let request = CompileRequest { profile, seconds: 120, memory_bytes: 1 << 30 };
        assert_eq!(CompileRequest::parse(&request.to_string()), Some(request));
        assert_eq!(CompileRequest::parse("fuel 120"), None);
    }
}
