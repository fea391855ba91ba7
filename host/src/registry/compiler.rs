//! Compiling plugins in a process of its own, which is killed when it takes too much.
//!
//! Compilers are not made for hostile input: wasmtime does not take it for a fault if one takes
//! minutes or gigabytes for a small module. So this program starts itself again, with the
//! [`Order`] in its environment; that process limits itself before it reads the plugin from its
//! input, compiles it, and writes the code to its output.
//!
//! Owns the process and its limits; what compiles, and what confines the process, is given by the
//! runtime. Invariants: the process gets no argument, variable or file of the host's, and has taken
//! from itself all system calls but those of compiling before it reads the plugin; it ends with the
//! task that waits for it; what it may write is bounded.

use std::io::{self, Read as _, Write as _};
use std::path::PathBuf;
use std::process::{ExitCode, ExitStatus, Stdio};
use std::sync::Once;
use std::time::Duration;

use anyhow::{Context as _, bail};
use jobwright_core::limits::{CompileLimits, show_bytes};
use jobwright_core::text;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{Child, Command};

/// Says to a process that it is to compile, and how.
const ORDER: &str = "JOBWRIGHT_COMPILE";

/// What the process is called in a list of processes.
const TITLE: &str = "compile-plugin";

/// Goes before the code, so that a program that knows nothing of all this is found out.
const MAGIC: &[u8] = b"jobwright compiled\n";

/// Begins each line in which a process notes what its sandbox lacks.
const LACKS: &str = "the sandbox lacks ";

/// The plugin does not compile (`EX_DATAERR`).
const REJECTED: u8 = 65;

/// The longest reason that is read.
const REASON_BYTES: u64 = 4096;

/// The most code that is taken, in bytes: some times what the largest plugins become.
const CODE_BYTES: u64 = 512 << 20;

/// The most threads of one process: beyond, their stacks take too much of what it may use.
const MOST_THREADS: usize = 8;

/// The stack of each of them, in bytes.
const STACK_BYTES: usize = 8 << 20;

/// Starts the processes.
#[derive(Debug)]
pub(crate) struct Compiler {
    program: PathBuf,
    /// Threads of each process.
    threads: usize,
    pub(crate) limits: CompileLimits,
}

/// Why there is no code.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// The plugin is at fault: it does not compile, or not within the limits.
    Rejected(String),
    /// It took too long, by the clock alone: the machine may have been busy.
    TooLong(String),
    /// The host is at fault.
    Broken(String),
}

impl Compiler {
    /// Compiles with this process's own program, which calls `run_child_process_if_requested` first, on so
    /// many threads each time.
    ///
    /// # Errors
    /// If the system does not tell which it is.
    pub(crate) fn new(limits: CompileLimits, threads: usize) -> anyhow::Result<Self> {
        // Not its path: the file may be replaced while the host runs.
        let running = PathBuf::from("/proc/self/exe");
        let program = if running.exists() {
            running
        } else {
            std::env::current_exe().context("cannot find the path of this program")?
        };
        Ok(Self { program, threads: threads.clamp(1, MOST_THREADS), limits })
    }

    /// Machine code for `wasm`, compiled as `profile` says. Blocks until it is there, or for `limit`.
    pub(crate) fn compile(
        &self,
        profile: &str,
        wasm: &[u8],
        limit: Duration,
    ) -> Result<Vec<u8>, Failure> {
        // One of its own, because who waits here is no part of one that waits for processes.
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

    /// Whoever drops this kills the process.
    async fn run(&self, profile: &str, wasm: &[u8]) -> anyhow::Result<Result<Vec<u8>, Failure>> {
        let mut child = self.start(profile)?;
        let (mut input, output) = (child.stdin.take(), child.stdout.take());
        let notes = child.stderr.take();
        let sending = async {
            if let Some(input) = &mut input {
                // A process that ends early says why on its way out.
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
        let order = Order {
            profile: profile.to_owned(),
            seconds: self.limits.timeout.as_secs().max(1),
            memory_bytes: self.limits.memory_bytes,
        };
        Command::new(&self.program)
            .arg(TITLE)
            .env_clear()
            .env(ORDER, order.to_string())
            // Those of Cranelift, of which rayon starts as many as there are processors otherwise.
            .env("RAYON_NUM_THREADS", self.threads.to_string())
            // As the main thread has: deeply nested code compiles on any of them.
            .env("RUST_MIN_STACK", STACK_BYTES.to_string())
            // Each arena of the C library reserves 64 MiB, which would count as memory of the plugin.
            .env("MALLOC_ARENA_MAX", "2")
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
            // It ran out of address space, and says so before it ends itself. Any process with the
            // right to can send the same signal, which says nothing of the plugin.
            (_, Some(SIGABRT)) | (Some(PANICKED), _) if is_exhausted(&notes) => {
                Failure::Rejected(format!(
                    "compiling it needs more than {} of memory: {first}",
                    show_bytes(memory_bytes)
                ))
            }
            (Some(PANICKED), _) if notes.contains(NO_THREADS) => {
                Failure::Broken(format!("the compiler process cannot start threads: {first}"))
            }
            // Its stack could not grow, or the compiler is broken.
            (_, Some(SIGSEGV)) => Failure::Rejected(format!(
                "compiling it needs more than {} of memory, or the compiler is broken: {first}",
                show_bytes(memory_bytes)
            )),
            (Some(PANICKED), _) => Failure::Rejected(format!("the compiler failed: {notes}")),
            _ => Failure::Broken(format!("the compiler process ended with {status}: {first}")),
        })
    }
}

/// What a process noted, without what its sandbox lacks: that is said once, in the log of the host.
fn without_lacks(notes: &str) -> String {
    static SAID: Once = Once::new();
    let (lacks, others): (Vec<&str>, Vec<&str>) =
        notes.lines().partition(|line| line.starts_with(LACKS));
    if !lacks.is_empty() {
        let lacks: Vec<&str> = lacks.iter().filter_map(|line| line.strip_prefix(LACKS)).collect();
        SAID.call_once(|| {
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

/// What a program of Rust says that gets no memory, or no stack; the last two when the system says so.
const EXHAUSTED: [&str; 4] =
    ["memory allocation of", "has overflowed its stack", "OutOfMemory", "Cannot allocate memory"];

fn is_exhausted(notes: &str) -> bool {
    EXHAUSTED.iter().any(|words| notes.contains(words))
}

/// What rayon says that cannot start its threads: the system has too many, whatever the plugin is.
const NO_THREADS: &str = "ThreadPoolBuildError";

/// What a program of Rust ends with that panicked.
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

/// What a process is told to do.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Order {
    /// How code is compiled, in the runtime's words.
    pub(crate) profile: String,
    seconds: u64,
    memory_bytes: u64,
}

impl std::fmt::Display for Order {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {} {}", self.profile, self.seconds, self.memory_bytes)
    }
}

impl Order {
    /// What this process was told, if it is one that compiles.
    pub(crate) fn of_this_process() -> Option<anyhow::Result<Self>> {
        let text = std::env::var(ORDER).ok()?;
        Some(Self::parse(&text).with_context(|| format!("{ORDER} is `{text}`")))
    }

    fn parse(text: &str) -> Option<Self> {
        let mut words = text.split(' ');
        let profile = words.next()?.to_owned();
        let mut number = || words.next()?.parse().ok();
        Some(Self { profile, seconds: number()?, memory_bytes: number()? })
    }

    /// Limits and confines this process, reads a plugin, and answers what `compile` makes of it.
    /// `confine` says what the system has no way to take away; where it fails, nothing is compiled.
    pub(crate) fn obey(
        &self,
        confine: impl FnOnce() -> anyhow::Result<Vec<String>>,
        compile: impl FnOnce(&[u8]) -> anyhow::Result<Vec<u8>>,
    ) -> ExitCode {
        match self.carried_out(confine, compile) {
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

    fn carried_out(
        &self,
        confine: impl FnOnce() -> anyhow::Result<Vec<String>>,
        compile: impl FnOnce(&[u8]) -> anyhow::Result<Vec<u8>>,
    ) -> anyhow::Result<anyhow::Result<()>> {
        self.limit_this_process().context("cannot limit the compiler process")?;
        // No limit can be changed any more after that, and no file opened.
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
            // No process may raise what it was given; less is strict enough.
            let given = getrlimit(resource).maximum.unwrap_or(u64::MAX);
            let (current, maximum) = (Some(soft.min(given)), Some(hard.min(given)));
            setrlimit(resource, Rlimit { current, maximum })
        };
        limit(Resource::As, self.memory_bytes, self.memory_bytes)?;
        // At the first the signal that says why, at the second the one that cannot be ignored.
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
    fn an_order_is_understood() {
        let order = Order { profile: "fuel".to_owned(), seconds: 120, memory_bytes: 1 << 30 };
        assert_eq!(Order::parse(&order.to_string()), Some(order));
        assert_eq!(Order::parse("fuel 120"), None);
    }

    #[test]
    fn a_program_that_knows_nothing_of_it_is_found_out() {
        let compiler =
            Compiler { program: "/bin/true".into(), threads: 1, limits: CompileLimits::default() };
        let found = compiler.compile("fuel", b"\0asm", compiler.limits.timeout);
        assert_eq!(found, Err(Failure::Broken("/bin/true does not compile plugins".to_owned())));
    }

    #[cfg(unix)]
    #[test]
    fn only_what_the_process_says_of_itself_is_held_against_the_plugin() {
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
    fn one_that_never_answers_is_killed() {
        let limits = CompileLimits { timeout: Duration::from_millis(10), memory_bytes: 1 << 30 };
        let compiler = Compiler { program: "/usr/bin/yes".into(), threads: 1, limits };
        let found = compiler.compile("fuel", b"\0asm", compiler.limits.timeout);
        assert!(matches!(found, Err(Failure::TooLong(_))), "{found:?}");
    }
}
