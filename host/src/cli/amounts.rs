//! Time spans and numbers of jobs, for tables, messages and progress lines.

use std::time::Duration;

/// A time span in its largest unit: `12s`, `5m`, `3h`, `2d`.
pub(in crate::cli) fn span(span: Duration) -> String {
    let seconds = span.as_secs();
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m", seconds / 60),
        3600..86_400 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
}

/// A number of jobs: `1 job`, `2 jobs`.
pub(in crate::cli) fn jobs(count: usize) -> String {
    format!("{count} job{}", if count == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_job_is_not_some_jobs() {
        assert_eq!([0, 1, 2].map(jobs), ["0 jobs", "1 job", "2 jobs"]);
    }

    #[test]
    fn an_age_is_shown_in_its_largest_unit() {
        for (seconds, shown) in
            [(0, "0s"), (59, "59s"), (60, "1m"), (7199, "1h"), (86_399, "23h"), (200_000, "2d")]
        {
            assert_eq!(span(Duration::from_secs(seconds)), shown);
        }
    }
}
