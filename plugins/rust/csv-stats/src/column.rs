//! Statistics of the values of one column.

use std::collections::HashMap;

use serde::Serialize;

/// One column. Its type is the type of all its values.
#[derive(Debug, Serialize)]
pub struct Column {
    name: String,
    /// Values that are not empty.
    count: usize,
    empty: usize,
    #[serde(flatten)]
    values: Values,
}

#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "lowercase")]
enum Values {
    /// The column has no values.
    Empty,
    /// Every value is a finite number.
    Number(Numbers),
    /// Anything else.
    Text { distinct: usize, most_frequent: Frequent },
}

#[derive(Debug, Serialize)]
struct Numbers {
    min: f64,
    max: f64,
    mean: f64,
    /// The standard deviation of a sample (n - 1); `None` for a single value.
    stddev: Option<f64>,
}

#[derive(Debug, Serialize)]
struct Frequent {
    value: String,
    count: usize,
}

impl Column {
    /// The column `name` that holds `values` from top to bottom.
    pub fn new<'a>(name: &str, values: impl Iterator<Item = &'a str>) -> Self {
        let all: Vec<&str> = values.collect();
        let given: Vec<&str> = all.iter().copied().filter(|value| !value.is_empty()).collect();
        let (count, empty) = (given.len(), all.len() - given.len());
        Self { name: name.to_owned(), count, empty, values: Values::of(&given) }
    }
}

impl Values {
    fn of(given: &[&str]) -> Self {
        let numbers: Option<Vec<f64>> = given.iter().map(|value| number(value)).collect();
        match numbers {
            Some(numbers) if numbers.is_empty() => Self::Empty,
            Some(numbers) => Self::Number(Numbers::of(&numbers)),
            None => Self::text(given),
        }
    }

    fn text(given: &[&str]) -> Self {
        let mut counts = HashMap::<&str, usize>::new();
        for value in given {
            *counts.entry(value).or_default() += 1;
        }
        let distinct = counts.len();
        // Of equally frequent values the first in code-point order, whatever the map's order.
        let (value, count) = counts
            .into_iter()
            .max_by(|a, b| a.1.cmp(&b.1).then_with(|| b.0.cmp(a.0)))
            .unwrap_or_default();
        Self::Text { distinct, most_frequent: Frequent { value: value.to_owned(), count } }
    }
}

/// Rust parses `inf` and `nan` as numbers; in a table they are words.
fn number(value: &str) -> Option<f64> {
    value.parse().ok().filter(|number: &f64| number.is_finite())
}

impl Numbers {
    /// Welford's method: one pass, and no loss when the values are large and close together.
    fn of(values: &[f64]) -> Self {
        let (mut min, mut max) = (f64::INFINITY, f64::NEG_INFINITY);
        let (mut count, mut mean, mut squares) = (0.0, 0.0, 0.0);
        for &value in values {
            count += 1.0;
            let from_old = value - mean;
            mean += from_old / count;
            squares += from_old * (value - mean);
            (min, max) = (min.min(value), max.max(value));
        }
        let stddev = (count > 1.0).then(|| (squares / (count - 1.0)).sqrt());
        Self { min, max, mean, stddev }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_values_close_together_keep_their_deviation() {
        let numbers = Numbers::of(&[1e9 + 4.0, 1e9 + 7.0, 1e9 + 13.0, 1e9 + 16.0]);
        assert_eq!((numbers.mean, numbers.stddev), (1e9 + 10.0, Some(30.0f64.sqrt())));
    }

    #[test]
    fn a_single_value_has_no_deviation() {
        assert_eq!(Numbers::of(&[7.0]).stddev, None);
    }

    #[test]
    fn one_word_makes_a_column_text() {
        let column = Column::new("n", ["1", "", "nan", "2"].into_iter());
        assert_eq!((column.count, column.empty), (3, 1));
        let Values::Text { distinct, most_frequent } = column.values else { panic!("not text") };
        assert_eq!((distinct, most_frequent.value.as_str()), (3, "1"));
    }
}
