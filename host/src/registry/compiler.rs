//! Compiles plugins in a separate process, which is killed when it exceeds its limits.
//!
//! Compilers are not designed for hostile input: wasmtime does not treat it as a bug if it needs minutes or
//! gigabytes for a small module. So this program starts itself again, with a [`CompileRequest`] in the
//! environment. That process sets its own limits, reads the plugin from stdin, compiles it, and writes the
//! code to stdout.
//!
//! Owns the process and its limits; the runtime provides the compiler and the sandbox. Invariants: the
//! process inherits no arguments, variables and files of the host, and drops all system calls that
//! compiling does not need before it reads the plugin; it ends with the task that waits for it; its output
//! is bounded.

use std::io;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::sync::Once;
use std::time::Duration;

use anyhow::{Context as _, bail};
use jobwright_core::limits::{CompileLimits, show_bytes};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{Child, Command};

use super::compile_request::{CompileRequest, LACKS, MAGIC, REASON_BYTES, REJECTED, REQUEST};

/// The argument by which the process is recognized in a list of processes.
const TITLE: &str = "compile-plugin";

/// The maximum length of the code, in bytes: several times that of the largest plugins.
const CODE_BYTES: u64 = 512 << 20;

/// The maximum number of threads of a process: the stacks of more would use too much of its memory limit.
const MOST_THREADS: usize = 8;

/// The stack size of each thread, in bytes.
const STACK_BYTES: usize = 8 << 20;

/// Settings of the allocators of a process whose memory is limited, as variables. By default each arena of
/// mimalloc reserves 1 GiB, all of it writable, and each of glibc's malloc, which C libraries use, 64 MiB: that
/// would count towards the limit. Small ones of mimalloc reserve 64 MiB, and what they have used counts for ever, so
/// large objects have memory of their own, which goes back to the system.
pub(crate) const SMALL_ARENAS: [(&str, &str); 4] = [
    ("MIMALLOC_ARENA_RESERVE", "32MiB"),
    ("MIMALLOC_ARENA_EAGER_COMMIT", "0"),
    ("MIMALLOC_ARENA_MAX_OBJECT_SIZE", "1MiB"),
    ("MALLOC_ARENA_MAX", "2"),
];

/// Starts compiler processes.
#[derive(Debug)]
pub(crate) struct Compiler {
    program: PathBuf,
    /// The number of threads of each process.
    threads: usize,
    pub(crate) limits: CompileLimits,
}

/// Why compiling failed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// The plugin does not compile, or not within the limits.
    Rejected(String),
    /// Compiling took too much wall time: the machine may have been busy.
    TooLong(String),
    /// The host failed.
    Broken(String),
}

impl Compiler {
    /// A compiler that runs the program of this process, which must call `run_child_process_if_requested`
    /// first. Each process has `threads` threads.
    ///
    /// # Errors
    /// If the path of the program is not known.
    pub(crate) fn new(limits: CompileLimits, threads: usize) -> anyhow::Result<Self> {
        // Not the path of the file, which can be replaced while the host runs.
        let running = PathBuf::from("/proc/self/exe");
        let program = if running.exists() {
            running
        } else {
            std::env::current_exe().context("cannot find the path of this program")?
        };
        Ok(Self { program, threads: threads.clamp(1, MOST_THREADS), limits })
    }

    /// Compiles `wasm` for `profile`. Blocks, for at most `limit`.
    pub(crate) fn compile(
        &self,
        profile: &str,
        wasm: &[u8],
        limit: Duration,
    ) -> Result<Vec<u8>, Failure> {
        // A runtime of its own, because the blocking thread that calls this cannot wait for processes.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let waited = runtime.map_err(anyhow::Error::from).and_then(|runtime| {
            let run = async { tokio::time::timeout(limit, self.run(profile, wasm)).await };
            runtime.block_on(run).unwrap_or_else(|_| {
                let message = format!("it was not compiled within {} s", limit.as_secs());
                Ok(Err(Failure::TooLong(message)))
            })
        });
        waited.unwrap_or_else(|error| Err(Failure::Broken(format!("{error:#}"))))
    }

    /// Runs a compiler process. Dropping the future kills the process.
    async fn run(&self, profile: &str, wasm: &[u8]) -> anyhow::Result<Result<Vec<u8>, Failure>> {
        let mut child = self.start(profile)?;
        let (mut input, output) = (child.stdin.take(), child.stdout.take());
        let notes = child.stderr.take();
        let sending = async {
            if let Some(input) = &mut input {
                // If the process ends early, its exit code and stderr report why.
                let _ = input.write_all(wasm).await;
            }
            drop(input.take());
        };
        let reading = bounded(output, CODE_BYTES + 1);
        let noting = bounded(notes, REASON_BYTES);
        let ((), code, notes) = tokio::join!(sending, reading, noting);
        let (mut code, notes) = (code?, without_lacks(&String::from_utf8_lossy(&notes?)));
        if code.len() as u64 > CODE_BYTES {
            let most = show_bytes(CODE_BYTES);
            return Ok(Err(Failure::Rejected(format!("its code is larger than {most}"))));
        }
        let status = child.wait().await?;
        if let Some(failure) = self.failure(status, notes) {
            return Ok(Err(failure));
        }
        if !code.starts_with(MAGIC) {
            bail!("{} does not compile plugins", self.program.display());
        }
        Ok(Ok(code.split_off(MAGIC.len())))
    }

    fn start(&self, profile: &str) -> anyhow::Result<Child> {
        let request = CompileRequest {
            profile: profile.to_owned(),
            seconds: self.limits.timeout.as_secs().max(1),
            memory_bytes: self.limits.memory_bytes,
        };
        Command::new(&self.program)
            .arg(TITLE)
            .env_clear()
            .env(REQUEST, request.to_string())
            // The threads of Cranelift: by default, rayon starts one per core.
            .env("RAYON_NUM_THREADS", self.threads.to_string())
            // As large as that of the main thread, because deeply nested code can be compiled on any thread.
            .env("RUST_MIN_STACK", STACK_BYTES.to_string())
            .envs(SMALL_ARENAS)
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .context("cannot start a compiler process")
    }

    fn failure(&self, status: ExitStatus, notes: String) -> Option<Failure> {
        if status.success() {
            return None;
        }
        let CompileLimits { timeout, memory_bytes } = self.limits;
        let first = notes.lines().next().unwrap_or_default();
        Some(match (status.code(), signal(status)) {
            (Some(code), _) if code == i32::from(REJECTED) => Failure::Rejected(notes),
            (_, Some(SIGXCPU)) => Failure::Rejected(format!(
                "compiling it takes more than {} s of processor time",
                timeout.as_secs()
            )),
            // The process ran out of address space, reported that, and aborted. The signal alone does not
            // prove that, because another process can have sent it.
            (_, Some(SIGABRT)) | (Some(PANICKED), _) if is_exhausted(&notes) => {
                Failure::Rejected(format!(
                    "compiling it needs more than {} of memory: {first}",
                    show_bytes(memory_bytes)
                ))
            }
            (Some(PANICKED), _) if notes.contains(NO_THREADS) => {
                Failure::Broken(format!("the compiler process cannot start threads: {first}"))
            }
            // The stack could not grow, or the compiler has a bug.
            (_, Some(SIGSEGV)) => Failure::Rejected(format!(
                "compiling it needs more than {} of memory, or the compiler has a bug: {first}",
                show_bytes(memory_bytes)
            )),
            (Some(PANICKED), _) => Failure::Rejected(format!("the compiler failed: {notes}")),
            _ => Failure::Broken(format!("the compiler process ended with {status}: {first}")),
        })
    }
}

/// The stderr of a process, without the lines about its sandbox: these are logged by the host, once.
fn without_lacks(notes: &str) -> String {
    static LOGGED: Once = Once::new();
    let (lacks, others): (Vec<&str>, Vec<&str>) =
        notes.lines().partition(|line| line.starts_with(LACKS));
    if !lacks.is_empty() {
        let lacks: Vec<&str> = lacks.iter().filter_map(|line| line.strip_prefix(LACKS)).collect();
        LOGGED.call_once(|| {
            let lacks = lacks.join(", no ");
            tracing::warn!(
                "compiler processes run with a weaker sandbox on this machine: no {lacks}"
            );
        });
    }
    others.join("\n").trim().to_owned()
}

async fn bounded(from: Option<impl AsyncRead + Unpin>, most: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    if let Some(from) = from {
        from.take(most).read_to_end(&mut bytes).await?;
    }
    Ok(bytes)
}

/// Messages of Rust programs that run out of memory or stack; the last two are errors of the system.
const EXHAUSTED: [&str; 5] = [
    "memory allocation of",
    "has overflowed its stack",
    // Of Cranelift, where it catches the error of an allocation.
    "unhandled out-of-memory error",
    "OutOfMemory",
    "Cannot allocate memory",
];

fn is_exhausted(notes: &str) -> bool {
    EXHAUSTED.iter().any(|words| notes.contains(words))
}

/// The message of rayon if it cannot start threads, which does not depend on the plugin.
const NO_THREADS: &str = "ThreadPoolBuildError";

/// The exit code of a Rust program that panicked.
const PANICKED: i32 = 101;
const SIGABRT: i32 = 6;
const SIGSEGV: i32 = 11;
const SIGXCPU: i32 = 24;

#[cfg(unix)]
fn signal(status: ExitStatus) -> Option<i32> {
    std::os::unix::process::ExitStatusExt::signal(&status)
}

#[cfg(not(unix))]
fn signal(_: ExitStatus) -> Option<i32> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_is_not_a_compiler_process_is_detected() {
        let compiler =
            Compiler { program: "/bin/true".into(), threads: 1, limits: CompileLimits::default() };
        let found = compiler.compile("fuel", b"\0asm", compiler.limits.timeout);
        assert_eq!(found, Err(Failure::Broken("/bin/true does not compile plugins".to_owned())));
    }

    #[cfg(unix)]
    #[test]
    fn a_signal_without_a_message_does_not_reject_the_plugin() {
        use std::os::unix::process::ExitStatusExt as _;
        let compiler =
            Compiler { program: "/bin/true".into(), threads: 1, limits: CompileLimits::default() };
        let failure = |signal: i32, notes: &str| {
            compiler.failure(ExitStatus::from_raw(signal), notes.to_owned()).expect("a failure")
        };
        for notes in
            ["memory allocation of 64 bytes failed", "thread 'main' has overflowed its stack"]
        {
            let found = failure(SIGABRT, notes);
            assert!(matches!(found, Failure::Rejected(_)), "{found:?}");
        }
        for (signal, notes) in [(SIGABRT, ""), (9, ""), (15, "memory allocation of")] {
            let found = failure(signal, notes);
            assert!(matches!(found, Failure::Broken(_)), "{found:?}");
        }
    }

    #[test]
    fn a_process_that_never_ends_is_killed() {
        let limits = CompileLimits { timeout: Duration::from_millis(10), memory_bytes: 1 << 30 };
        let compiler = Compiler { program: "/usr/bin/yes".into(), threads: 1, limits };
        let found = compiler.compile("fuel", b"\0asm", compiler.limits.timeout);
        assert!(matches!(found, Err(Failure::TooLong(_))), "{found:?}");
    }
}
