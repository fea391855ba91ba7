//! Conversions of common errors to [`JobError`].

use std::error::Error;
use std::fmt::Write as _;
use std::num::{ParseFloatError, ParseIntError};
use std::str::Utf8Error;
use std::string::FromUtf8Error;

use crate::JobError;

/// Invalid text is still invalid at the next attempt.
macro_rules! permanent {
    ($($error:ty),*) => {
        $(impl From<$error> for JobError {
            fn from(error: $error) -> Self {
                Self::permanent(error)
            }
        })*
    };
}

permanent!(ParseIntError, ParseFloatError, Utf8Error, FromUtf8Error);

/// Invalid JSON is still invalid at the next attempt. Only an I/O error of the reader may be
/// temporary.
impl From<serde_json::Error> for JobError {
    fn from(error: serde_json::Error) -> Self {
        if error.is_io() { Self::retry(error) } else { Self::permanent(error) }
    }
}

/// An I/O error may be temporary.
impl From<std::io::Error> for JobError {
    fn from(error: std::io::Error) -> Self {
        Self::retry(error)
    }
}

/// An unclassified error may be temporary.
impl From<Box<dyn Error + Send + Sync>> for JobError {
    fn from(error: Box<dyn Error + Send + Sync>) -> Self {
        match error.downcast::<Self>() {
            Ok(error) => *error,
            Err(error) => Self::retry(with_sources(&*error)),
        }
    }
}

/// As for a `Box<dyn Error + Send + Sync>`.
impl From<Box<dyn Error>> for JobError {
    fn from(error: Box<dyn Error>) -> Self {
        match error.downcast::<Self>() {
            Ok(error) => *error,
            Err(error) => Self::retry(with_sources(&*error)),
        }
    }
}

/// As for a `Box<dyn Error>`. A `JobError` keeps its kind below any context.
#[cfg(feature = "anyhow")]
impl From<anyhow::Error> for JobError {
    fn from(error: anyhow::Error) -> Self {
        let message = format!("{error:#}");
        match error.chain().find_map(|cause| cause.downcast_ref::<Self>()) {
            Some(inner) => inner.clone().with_message(message),
            None => Self::retry(message),
        }
    }
}

/// The error and its causes, outermost first.
fn with_sources(error: &dyn Error) -> String {
    let mut message = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        // Writing to a string does not fail.
        let _ = write!(message, ": {error}");
        source = error.source();
    }
    message
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn broken_json_is_permanent_and_a_broken_reader_is_not() {
        let syntax = serde_json::from_str::<u8>("{").unwrap_err();
        assert!(!JobError::from(syntax).is_retry());
        let misfit = serde_json::from_str::<u8>("300").unwrap_err();
        assert!(!JobError::from(misfit).is_retry());

        struct Broken;
        impl std::io::Read for Broken {
            fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
                Err(std::io::ErrorKind::ConnectionReset.into())
            }
        }
        let broken = serde_json::from_reader::<_, u8>(Broken).unwrap_err();
        assert!(JobError::from(broken).is_retry());
    }

    #[test]
    fn a_number_that_does_not_parse_is_permanent_and_a_file_that_is_not_there_is_not() {
        fn number() -> Result<u8, JobError> {
            Ok("x".parse()?)
        }
        fn file() -> Result<String, JobError> {
            Ok(std::fs::read_to_string("/no/such/file")?)
        }
        assert!(!number().unwrap_err().is_retry());
        assert!(file().unwrap_err().is_retry());
    }

    #[test]
    fn an_unknown_error_asks_for_a_retry_and_a_known_one_keeps_its_kind() {
        let unknown: Box<dyn Error> = "the shop is closed".into();
        assert_eq!(JobError::from(unknown), JobError::retry("the shop is closed"));
        let known: Box<dyn Error + Send + Sync> = JobError::permanent("no such shop").into();
        assert_eq!(JobError::from(known), JobError::permanent("no such shop"));
    }

    #[cfg(feature = "anyhow")]
    #[test]
    fn a_kind_shows_through_any_context() {
        let error = anyhow::Error::new(JobError::permanent("no such shop")).context("ordering");
        assert_eq!(JobError::from(error), JobError::permanent("ordering: no such shop"));
        let unknown = anyhow::anyhow!("closed").context("ordering");
        assert_eq!(JobError::from(unknown), JobError::retry("ordering: closed"));
    }
}
