//! Counts the words of text and lists the most frequent ones.

use std::collections::HashMap;

use jobwright_guest::{Job, JobError};
use serde::Serialize;
use unicode_segmentation::UnicodeSegmentation;

/// The default number of listed words; the first argument overrides it.
const DEFAULT_TOP: usize = 20;

#[jobwright_guest::job]
fn word_count(text: String, job: &Job) -> Result<Counts, JobError> {
    Ok(count(&text, job.arg(0)?.unwrap_or(DEFAULT_TOP)))
}

#[derive(Debug, PartialEq, Serialize)]
struct Counts {
    lines: usize,
    words: usize,
    distinct: usize,
    top: Vec<Word>,
}

#[derive(Debug, PartialEq, Serialize)]
struct Word {
    word: String,
    count: usize,
}

/// Words are those of Unicode's UAX #29 in lower case; of equally frequent ones the first in
/// code-point order comes first, so that the same text always gives the same output.
fn count(text: &str, top: usize) -> Counts {
    let mut counts = HashMap::<String, usize>::new();
    for word in text.unicode_words() {
        *counts.entry(word.to_lowercase()).or_default() += 1;
    }
    let mut ranked: Vec<Word> =
        counts.into_iter().map(|(word, count)| Word { word, count }).collect();
    ranked.sort_unstable_by(|a, b| b.count.cmp(&a.count).then_with(|| a.word.cmp(&b.word)));
    let (words, distinct) = (ranked.iter().map(|word| word.count).sum(), ranked.len());
    ranked.truncate(top);
    Counts { lines: text.lines().count(), words, distinct, top: ranked }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn top(text: &str) -> Vec<(String, usize)> {
        count(text, 3).top.into_iter().map(|word| (word.word, word.count)).collect()
    }

    #[test]
    fn counts_ignore_case_and_punctuation() {
        let counts = count("The cat -- the CAT's hat.\nThe end", 1);
        assert_eq!((counts.lines, counts.words, counts.distinct), (2, 7, 5));
        assert_eq!(counts.top, [Word { word: "the".into(), count: 3 }]);
    }

    #[test]
    fn equally_frequent_words_come_in_order() {
        let expected = [("c", 2), ("a", 1), ("b", 1)].map(|(word, n)| (word.to_owned(), n));
        assert_eq!(top("c b d c a"), expected);
    }

    #[test]
    fn lower_case_is_that_of_unicode() {
        assert_eq!(top("ÄRGER ärger Ärger"), [("ärger".to_owned(), 3)]);
        // The last letter of a Greek word has a form of its own.
        assert_eq!(top("ΟΔΟΣ οδος"), [("οδος".to_owned(), 2)]);
    }

    #[test]
    fn no_text_has_no_words() {
        assert_eq!(count("", 3), Counts { lines: 0, words: 0, distinct: 0, top: vec![] });
    }
}
