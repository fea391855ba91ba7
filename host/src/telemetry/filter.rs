//! Parses log filters. Pure.

use tracing_subscriber::EnvFilter;

/// The names of the levels.
const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

/// Parses a filter: a level, or `TARGET=LEVEL` for parts of the program, separated by commas.
///
/// # Errors
/// If a part is neither. The parser of `tracing` treats a misspelt level as the name of a target, and the
/// log would be empty.
pub(crate) fn parse(text: &str) -> Result<EnvFilter, String> {
    for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        check(part).map_err(|wrong| {
            format!(
                "`{text}` is not a log filter: {wrong}; use a level ({}), or one for each part of \
                 the program, as in `warn,jobwright::api=debug`",
                LEVELS.join(", ")
            )
        })?;
    }
    EnvFilter::builder()
        .parse(text)
        .map_err(|error| format!("`{text}` is not a log filter: {error}"))
}

fn check(part: &str) -> Result<(), String> {
    let is_level = |word: &str| LEVELS.iter().any(|level| word.eq_ignore_ascii_case(level));
    match part.split_once('=') {
        // Filters of spans and fields are left to the parser.
        _ if part.contains('[') => Ok(()),
        Some((_, level)) if is_level(level.trim()) => Ok(()),
        Some((_, level)) => Err(format!("`{level}` is not a level")),
        None if is_level(part) || part.contains("::") => Ok(()),
        None => Err(format!("`{part}` is not a level")),
    }
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn a_filter_is_a_level_or_one_for_each_part() {
        for good in
            ["", "info", "WARN", "off", "warn,jobwright=debug", "jobwright::api", "a[b]=info"]
        {
            assert!(parse(good).is_ok(), "{good}");
        }
        for bad in ["inof", "jobwright", "jobwright=inof", "info,verbose", "a=1x", "info=", "7"] {
            let error = parse(bad).expect_err(bad);
            assert!(error.contains("is not a log filter") && error.contains("debug"), "{error}");
        }
    }
}
