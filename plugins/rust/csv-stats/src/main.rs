//! Describes every column of a CSV file that has a header.

mod column;

use csv::{ErrorKind, ReaderBuilder, StringRecord, Trim};
use jobwright_guest::JobError;
use serde::Serialize;

use column::Column;

#[derive(Debug, Serialize)]
struct Table {
    rows: usize,
    columns: Vec<Column>,
}

#[jobwright_guest::job]
fn csv_stats(file: Vec<u8>) -> Result<Table, JobError> {
    let mut reader = ReaderBuilder::new().trim(Trim::All).from_reader(file.as_slice());
    let header = reader.headers().map_err(explain)?.clone();
    if header.is_empty() {
        return Err(JobError::permanent("payload has no header: it is empty"));
    }
    let rows = reader.records().collect::<Result<Vec<StringRecord>, _>>().map_err(explain)?;
    let columns = header
        .iter()
        .enumerate()
        .map(|(index, name)| Column::new(name, rows.iter().map(|row| &row[index])))
        .collect();
    Ok(Table { rows: rows.len(), columns })
}

/// A permanent error with the line of the fault.
fn explain(error: csv::Error) -> JobError {
    let line = error.position().map_or(1, csv::Position::line);
    JobError::permanent(match error.kind() {
        ErrorKind::UnequalLengths { expected_len, len, .. } => {
            format!("line {line} has {len} fields, the header has {expected_len}")
        }
        ErrorKind::Utf8 { .. } => format!("line {line} is not UTF-8"),
        _ => error.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn columns(payload: &str) -> serde_json::Value {
        serde_json::to_value(csv_stats(payload.into()).unwrap().columns).unwrap()
    }

    #[test]
    fn each_column_is_described_by_its_type() {
        let columns = columns("name, price\napple, 1.5\npear,\n\"apple\",2.5\n");
        assert_eq!(
            columns,
            serde_json::json!([
                {"name": "name", "count": 3, "empty": 0, "type": "text", "distinct": 2,
                 "most_frequent": {"value": "apple", "count": 2}},
                {"name": "price", "count": 2, "empty": 1, "type": "number",
                 "min": 1.5, "max": 2.5, "mean": 2.0, "stddev": 0.5f64.sqrt()},
            ])
        );
    }

    #[test]
    fn a_row_with_too_few_fields_is_named_by_its_line() {
        let error = csv_stats("a,b\n1,\"two\nlines\"\n3\n".into()).unwrap_err();
        assert_eq!(error, JobError::permanent("line 4 has 1 fields, the header has 2"));
    }

    #[test]
    fn bytes_that_are_not_text_are_reported_with_their_line() {
        let error = csv_stats(b"a\n1\n\xff\n".to_vec()).unwrap_err();
        assert_eq!(error, JobError::permanent("line 3 is not UTF-8"));
    }

    #[test]
    fn a_header_alone_is_a_table_without_rows() {
        assert_eq!(columns("a\n")[0]["type"], "empty");
        assert!(csv_stats(Vec::new()).is_err());
    }
}
