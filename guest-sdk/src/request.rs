//! What a job is given: its payload, its arguments, and who it is.

use std::env;
use std::str::FromStr;

use serde::de::DeserializeOwned;

use crate::JobError;

/// The payload of a job, its arguments, and what the host says about the job.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Request {
    payload: Vec<u8>,
    args: Vec<String>,
    job: Job,
}

impl Request {
    /// A request with `payload` and nothing else, for tests of a job without a host.
    ///
    /// ```
    /// use jobwright_guest::{JobError, Request, Response};
    ///
    /// fn reverse(request: Request) -> Result<Response, JobError> {
    ///     Ok(Response::text(request.text()?.chars().rev().collect::<String>()))
    /// }
    /// assert_eq!(reverse(Request::new("abc")).unwrap().as_bytes(), b"cba");
    /// ```
    pub fn new(payload: impl Into<Vec<u8>>) -> Self {
        Self { payload: payload.into(), ..Self::default() }
    }

    /// The same request with these arguments.
    #[must_use]
    pub fn with_args(mut self, args: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.args = args.into_iter().map(Into::into).collect();
        self
    }

    /// The same request, as coming from `job`.
    #[must_use]
    pub fn with_job(mut self, job: Job) -> Self {
        self.job = job;
        self
    }

    /// The request that this process was started with.
    pub(crate) fn from_process(payload: Vec<u8>) -> Self {
        // The first argument is the program's name.
        let args = env::args_os().skip(1).map(|arg| arg.to_string_lossy().into_owned());
        Self::new(payload).with_args(args).with_job(Job::from_variables(|name| env::var(name).ok()))
    }

    /// The payload as it came.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.payload
    }

    /// The payload as text.
    ///
    /// # Errors
    /// A permanent one that names the first offending byte, if it is not UTF-8.
    pub fn text(&self) -> Result<&str, JobError> {
        str::from_utf8(&self.payload).map_err(|error| {
            let (at, length) = (error.valid_up_to(), self.payload.len());
            JobError::permanent(format!("payload is not UTF-8: byte {at} of {length}"))
        })
    }

    /// The payload as JSON.
    ///
    /// ```
    /// use jobwright_guest::Request;
    ///
    /// let squares: Vec<u32> = Request::new("[1, 4, 9]").json().unwrap();
    /// assert_eq!(squares, [1, 4, 9]);
    /// ```
    ///
    /// # Errors
    /// A permanent one with line and column, if it is not JSON or not a `T`.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, JobError> {
        serde_json::from_slice(&self.payload)
            .map_err(|error| JobError::permanent(format!("payload is not as expected: {error}")))
    }

    /// The arguments of the job, without the program's name.
    #[must_use]
    pub fn args(&self) -> &[String] {
        &self.args
    }

    /// The argument at `index`, counted from 0, as a `T`; none if there are fewer.
    ///
    /// ```
    /// use jobwright_guest::Request;
    ///
    /// let request = Request::new("").with_args(["12"]);
    /// assert_eq!(request.arg::<u32>(0).unwrap(), Some(12));
    /// assert_eq!(request.arg::<u32>(1).unwrap(), None);
    /// ```
    ///
    /// # Errors
    /// A permanent one that shows the argument, if it is not a `T`.
    pub fn arg<T: FromStr>(&self, index: usize) -> Result<Option<T>, JobError> {
        let Some(arg) = self.args.get(index) else { return Ok(None) };
        arg.parse().map(Some).map_err(|_| {
            let kind = std::any::type_name::<T>();
            JobError::permanent(format!("argument {} is `{arg}`, not a valid {kind}", index + 1))
        })
    }

    /// What the host says about the job.
    #[must_use]
    pub fn job(&self) -> &Job {
        &self.job
    }
}

/// What the host says about the job, in the environment.
///
/// A job may be attempted more than once. The id stays the same over all attempts, which makes it
/// the key by which an outside system can tell a repetition.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Job {
    /// `JOBWRIGHT_JOB_ID`; none where no host runs the program.
    pub id: Option<String>,
    /// `JOBWRIGHT_ATTEMPT`, from 1; 1 where no host runs the program.
    pub attempt: u32,
    /// `JOBWRIGHT_QUEUE`; none where no host runs the program.
    pub queue: Option<String>,
}

impl Default for Job {
    fn default() -> Self {
        Self { id: None, attempt: 1, queue: None }
    }
}

impl Job {
    fn from_variables(variable: impl Fn(&str) -> Option<String>) -> Self {
        let attempt = variable("JOBWRIGHT_ATTEMPT").and_then(|n| n.parse().ok()).unwrap_or(1);
        Self { id: variable("JOBWRIGHT_JOB_ID"), attempt, queue: variable("JOBWRIGHT_QUEUE") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payload_that_is_not_text_is_refused_for_good_with_the_place() {
        let error = Request::new(*b"ab\xffcd").text().unwrap_err();
        assert_eq!(error, JobError::permanent("payload is not UTF-8: byte 2 of 5"));
    }

    #[test]
    fn a_payload_that_is_not_the_expected_json_is_refused_for_good_with_the_place() {
        let error = Request::new("{\"a\":1}").json::<Vec<u8>>().unwrap_err();
        assert!(!error.is_retry());
        assert!(error.to_string().ends_with("line 1 column 0"), "{error}");
    }

    #[test]
    fn an_argument_that_does_not_parse_is_shown() {
        let error = Request::new("").with_args(["-1"]).arg::<u32>(0).unwrap_err();
        assert_eq!(error, JobError::permanent("argument 1 is `-1`, not a valid u32"));
    }

    #[test]
    fn the_environment_says_which_job_it_is() {
        let job = Job::from_variables(|name| {
            let value = match name {
                "JOBWRIGHT_JOB_ID" => "0199-7",
                "JOBWRIGHT_ATTEMPT" => "3",
                "JOBWRIGHT_QUEUE" => "mail",
                other => panic!("{other} is not ours"),
            };
            Some(value.to_owned())
        });
        let expected = Job { id: Some("0199-7".into()), attempt: 3, queue: Some("mail".into()) };
        assert_eq!(job, expected);
        assert_eq!(Job::from_variables(|_| None), Job::default());
    }
}
