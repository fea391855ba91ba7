//! What the author of a Jobwright plugin needs: a job is a function from the payload to an output
//! or an error.
//!
//! A plugin made with this crate is a WASI preview 1 command. The payload arrives on stdin, the
//! output leaves on stdout, everything on stderr becomes the job's log, and the exit code says how
//! it went, in the language of `sysexits.h`:
//!
//! | exit code | meaning | from |
//! |---|---|---|
//! | 0 | succeeded | `Ok` |
//! | 65 (`EX_DATAERR`) | failed for good | [`JobError::permanent`] |
//! | 75 (`EX_TEMPFAIL`) | asks for a retry | [`JobError::retry`] |
//!
//! A whole plugin:
//!
//! ```no_run
//! use std::process::ExitCode;
//!
//! use jobwright_guest::{JobError, Request, Response, command};
//!
//! fn shout(request: Request) -> Result<Response, JobError> {
//!     Ok(Response::text(request.text()?.to_uppercase()))
//! }
//!
//! fn main() -> ExitCode {
//!     command(shout)
//! }
//! ```
//!
//! Build it with `cargo build --release --target wasm32-wasip1`. The same program runs and can be
//! tested without a host: `echo hello | cargo run`.
//!
//! A panic is neither of the two errors: it traps, and the host treats it as any other trap.

mod error;
mod request;
mod response;

use std::io::{self, Read, Write};
use std::process::ExitCode;

pub use error::JobError;
pub use request::{Job, Request};
pub use response::Response;

/// Runs `job` as a command: reads the payload from stdin to its end, writes the output to stdout or
/// the error to stderr, and returns the exit code for `main` to return.
///
/// Output is written only when the job has succeeded, so a failure leaves no half of it.
///
/// ```no_run
/// # use std::process::ExitCode;
/// use jobwright_guest::{Response, command};
///
/// fn main() -> ExitCode {
///     command(|request| {
///         eprintln!("attempt {}", request.job().attempt);
///         Ok(Response::bytes(request.bytes()))
///     })
/// }
/// ```
pub fn command(job: impl FnOnce(Request) -> Result<Response, JobError>) -> ExitCode {
    let mut payload = Vec::new();
    let result = match io::stdin().lock().read_to_end(&mut payload) {
        Ok(_) => job(Request::from_process(payload)),
        Err(error) => Err(JobError::retry(format!("cannot read the payload: {error}"))),
    };
    conclude(result, &mut io::stdout().lock(), &mut io::stderr().lock()).into()
}

/// Writes what `result` leaves and says the exit code for it.
fn conclude(
    result: Result<Response, JobError>,
    output: &mut impl Write,
    log: &mut impl Write,
) -> u8 {
    let written = result.and_then(|response| {
        output
            .write_all(response.as_bytes())
            .and_then(|()| output.flush())
            .map_err(|error| JobError::retry(format!("cannot write the output: {error}")))
    });
    match written {
        Ok(()) => 0,
        Err(error) => {
            // Without a log there is nowhere left to say so; the exit code still counts.
            let _ = writeln!(log, "{error}");
            error.exit_code()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(result: Result<Response, JobError>) -> (u8, Vec<u8>, String) {
        let (mut output, mut log) = (Vec::new(), Vec::new());
        let code = conclude(result, &mut output, &mut log);
        (code, output, String::from_utf8(log).unwrap())
    }

    #[test]
    fn an_output_goes_to_stdout_and_exits_0() {
        assert_eq!(run(Ok(Response::bytes([0, 255]))), (0, vec![0, 255], String::new()));
    }

    #[test]
    fn an_error_goes_to_the_log_and_leaves_no_output() {
        let bad = run(Err(JobError::permanent("no such colour: `blurple`")));
        assert_eq!(bad, (65, vec![], "no such colour: `blurple`\n".to_owned()));
        let busy = run(Err(JobError::retry("the shop is closed")));
        assert_eq!(busy, (75, vec![], "the shop is closed\n".to_owned()));
    }

    #[test]
    fn an_output_that_cannot_be_written_asks_for_a_retry() {
        struct Full;
        impl Write for Full {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::StorageFull.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let mut log = Vec::new();
        assert_eq!(conclude(Ok(Response::text("x")), &mut Full, &mut log), 75);
        assert!(log.starts_with(b"cannot write the output: "));
    }
}
