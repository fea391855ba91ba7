//! Collects the answers to the jobs of one request, in the order of the jobs.

use super::refused::Refused;
use super::submission::{Accepted, Answer};

/// See the documentation of the module.
pub(super) struct Answers(Vec<Option<Answer>>);

impl Answers {
    /// `count` answers, none of which is known yet.
    pub(super) fn of(count: usize) -> Self {
        Self((0..count).map(|_| None).collect())
    }

    pub(super) fn set(&mut self, at: usize, answer: Answer) {
        if let Some(place) = self.0.get_mut(at) {
            *place = Some(answer);
        }
    }

    /// Whether a job was accepted before under its key.
    pub(super) fn have_repetitions(&self) -> bool {
        self.0.iter().any(|answer| matches!(answer, Some(Ok(Accepted::Repeated(_)))))
    }

    pub(super) fn finish(self) -> Vec<Answer> {
        let missing = || Err(Refused::Broken("the store answered too few jobs".to_owned()));
        self.0.into_iter().map(|answer| answer.unwrap_or_else(missing)).collect()
    }
}
