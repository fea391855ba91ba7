//! A job as a command: payload on stdin, output on stdout, errors on stderr, and an exit code.

use std::io::{self, Read, Write};
use std::process::ExitCode;

use crate::backend::Host;
use crate::metadata::Metadata;
use crate::{Job, JobError, Request, Response};

/// Runs `job` with the input, arguments and environment of this process.
pub(crate) fn run(
    host: Host,
    job: impl FnOnce(Request, &Job) -> Result<Response, JobError>,
) -> ExitCode {
    let mut payload = Vec::new();
    let result = match io::stdin().lock().read_to_end(&mut payload) {
        Ok(_) => job(request(payload), &Job::new(Metadata::from_process(), host)),
        Err(error) => Err(JobError::retry(format!("cannot read the payload: {error}"))),
    };
    conclude(result, &mut io::stdout().lock(), &mut io::stderr().lock()).into()
}

fn request(payload: Vec<u8>) -> Request {
    let request = Request::new(payload);
    // The variable is empty if the submitter gave no media type.
    match std::env::var("JOBWRIGHT_CONTENT_TYPE") {
        Ok(content_type) if !content_type.is_empty() => request.with_content_type(content_type),
        _ => request,
    }
}

/// Writes the output or the error, and returns the exit code. Output is written only when the job has
/// succeeded, so a failure leaves no partial output.
fn conclude(
    result: Result<Response, JobError>,
    output: &mut impl Write,
    log: &mut impl Write,
) -> u8 {
    let written = result.and_then(|response| {
        response.announce_content_type();
        output
            .write_all(response.as_bytes())
            .and_then(|()| output.flush())
            .map_err(|error| JobError::retry(format!("cannot write the output: {error}")))
    });
    match written {
        Ok(()) => 0,
        Err(error) => {
            error.announce();
            // If the log cannot be written either, only the exit code reports the failure.
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
