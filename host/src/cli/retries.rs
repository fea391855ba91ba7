//! The flags on retries, which have the meaning of the fields `retry_on` and `backoff`.

use std::time::Duration;

use jobwright_core::retry::{Backoff, Curve};
use serde_json::{Map, Value, json};

use super::exit::Fault;
use super::json::text;
use crate::config::parse_duration;

const RETRIES: &str = "Retries";

/// Which outcomes are retried, and when.
#[derive(Debug, clap::Args)]
pub(super) struct RetryOptions {
    /// The outcomes that are retried: failed, trapped, time, fuel, memory, output, stack, tables,
    /// resources, separated by commas; `none` unsets the setting of a plugin [default: as the plugin's
    /// settings say, else failed,trapped,time].
    #[arg(long, value_name = "CAUSES", value_delimiter = ',', help_heading = RETRIES)]
    retry_on: Option<Vec<String>>,
    /// The wait after each failure: `polynomial`, `exponential:FIRST[,FACTOR]`, `fixed:TIME` or
    /// `list:TIME,TIME,…`, such as list:10s,5m,1h; `none` unsets the setting of a plugin [default: as the
    /// plugin's settings say, else polynomial].
    #[arg(long, value_name = "KIND[:TIMES]", value_parser = curve, help_heading = RETRIES)]
    backoff: Option<Given>,
    /// How far waits are spread to both sides, in percent [default: 20].
    #[arg(long, value_name = "PERCENT", requires = "backoff", help_heading = RETRIES)]
    backoff_jitter: Option<u8>,
    /// The longest wait before jitter, such as 1h [default: 6h for polynomial and exponential, else none].
    #[arg(long, value_name = "TIME", requires = "backoff", value_parser = parse_duration, help_heading = RETRIES)]
    backoff_max: Option<Duration>,
}

/// The value of `--backoff`.
#[derive(Debug, Clone, PartialEq)]
enum Given {
    /// `none`
    Unset,
    Curve(Curve),
}

impl RetryOptions {
    /// The fields, as settings of a plugin: `null` unsets one.
    ///
    /// # Errors
    /// If a host would refuse the back-off.
    pub(super) fn settings(&self) -> anyhow::Result<Map<String, Value>> {
        let mut fields = Map::new();
        if let Some(causes) = &self.retry_on {
            let causes = if *causes == ["none"] { Value::Null } else { json!(causes) };
            fields.insert("retry_on".to_owned(), causes);
        }
        match &self.backoff {
            None => {}
            Some(Given::Unset) => drop(fields.insert("backoff".to_owned(), Value::Null)),
            Some(Given::Curve(curve)) => {
                let backoff = self.valid(curve)?;
                fields.insert("backoff".to_owned(), serde_json::to_value(backoff)?);
            }
        }
        Ok(fields)
    }

    /// The fields, as query parameters of a submission.
    ///
    /// # Errors
    /// If a host would refuse the back-off.
    pub(super) fn parameters(&self) -> anyhow::Result<Vec<(String, String)>> {
        let mut parameters = Vec::new();
        for (name, value) in self.settings()? {
            match value {
                Value::Null => {}
                Value::Object(members) => parameters.extend(
                    members
                        .iter()
                        .map(|(member, value)| (format!("{name}.{member}"), listed(value))),
                ),
                value => parameters.push((name, listed(&value))),
            }
        }
        Ok(parameters)
    }

    fn valid(&self, curve: &Curve) -> anyhow::Result<Backoff> {
        let default = Backoff::of(curve.clone());
        let max_ms = self.backoff_max.map(|most| most.as_millis().try_into().unwrap_or(u64::MAX));
        let jitter_percent = self.backoff_jitter.unwrap_or(default.jitter_percent);
        let backoff = Backoff { jitter_percent, max_ms, ..default };
        let faults: Vec<String> = backoff
            .faults()
            .iter()
            .map(|it| format!("backoff.{}: {}", it.field, it.message))
            .collect();
        match faults.is_empty() {
            true => Ok(backoff),
            false => Err(Fault::Usage.failure(faults.join("; ")).into()),
        }
    }
}

/// A value as a query parameter: the items of a list are separated by commas.
fn listed(value: &Value) -> String {
    match value {
        Value::Array(items) => items.iter().map(text).collect::<Vec<_>>().join(","),
        value => text(value),
    }
}

fn curve(given: &str) -> Result<Given, String> {
    let (kind, times) = given.split_once(':').unwrap_or((given, ""));
    let millis = |time: &str| -> Result<u64, String> {
        parse_duration(time)?.as_millis().try_into().map_err(|_| format!("`{time}` is too long"))
    };
    let curve = match (kind, times) {
        ("none", "") => return Ok(Given::Unset),
        ("polynomial", "") => Curve::Polynomial,
        ("fixed", time) => Curve::Fixed { wait_ms: millis(time)? },
        ("exponential", times) => {
            let (first, factor) = times.split_once(',').unwrap_or((times, "2"));
            let factor =
                factor.parse().map_err(|_| format!("`{factor}` is not a factor: use 2"))?;
            Curve::Exponential { first_ms: millis(first)?, factor }
        }
        ("list", times) => {
            Curve::List { waits_ms: times.split(',').map(millis).collect::<Result<_, _>>()? }
        }
        _ => {
            return Err(
                "use polynomial, exponential:1s,2, fixed:30s, list:10s,5m,1h or none".to_owned()
            );
        }
    };
    Ok(Given::Curve(curve))
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    #[derive(Debug, clap::Parser)]
    struct Command {
        #[command(flatten)]
        retries: RetryOptions,
    }

    fn options(flags: &[&str]) -> RetryOptions {
        let command = [&["command"], flags].concat();
        Command::try_parse_from(command).expect("valid flags").retries
    }

    #[test]
    fn every_kind_is_written_as_words() {
        let parsed = |text| match curve(text) {
            Ok(Given::Curve(curve)) => serde_json::to_value(curve).expect("JSON"),
            other => panic!("{text}: {other:?}"),
        };
        assert_eq!(parsed("polynomial"), json!({ "kind": "polynomial" }));
        let exponential = |first_ms, factor| json!({ "kind": "exponential", "first_ms": first_ms, "factor": factor });
        assert_eq!(parsed("exponential:1s"), exponential(1_000, 2.0));
        assert_eq!(parsed("exponential:500ms,1.5"), exponential(500, 1.5));
        assert_eq!(parsed("fixed:30s"), json!({ "kind": "fixed", "wait_ms": 30_000 }));
        let list = json!({ "kind": "list", "waits_ms": [10_000, 300_000, 3_600_000] });
        assert_eq!(parsed("list:10s,5m,1h"), list);
        for bad in [
            "",
            "linear",
            "fixed",
            "fixed:5",
            "list:",
            "list:1s,",
            "polynomial:1s",
            "exponential:1s,x",
        ] {
            assert!(curve(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn settings_and_parameters_say_the_same() {
        let flags =
            ["--retry-on", "failed,fuel", "--backoff", "list:1s,2s", "--backoff-jitter", "0"];
        let given = options(&flags);
        let backoff = json!({ "kind": "list", "waits_ms": [1_000, 2_000], "jitter_percent": 0 });
        let settings = Value::from(given.settings().unwrap());
        assert_eq!(settings, json!({ "retry_on": ["failed", "fuel"], "backoff": backoff }));
        let mut parameters = given.parameters().unwrap();
        parameters.sort();
        let parameters: Vec<String> =
            parameters.into_iter().map(|(n, v)| format!("{n}={v}")).collect();
        let expected = [
            "backoff.jitter_percent=0",
            "backoff.kind=list",
            "backoff.waits_ms=1000,2000",
            "retry_on=failed,fuel",
        ];
        assert_eq!(parameters, expected);
    }

    #[test]
    fn none_unsets_a_setting_and_is_no_parameter() {
        let given = options(&["--retry-on", "none", "--backoff", "none"]);
        let settings = Value::from(given.settings().unwrap());
        assert_eq!(settings, json!({ "retry_on": null, "backoff": null }));
        assert_eq!(given.parameters().unwrap(), vec![]);
        assert_eq!(options(&[]).settings().unwrap(), Map::new());
    }

    #[test]
    fn what_a_host_would_refuse_is_refused_here() {
        for bad in ["fixed:9000h", "exponential:1s,0.5"] {
            assert!(options(&["--backoff", bad]).settings().is_err(), "{bad}");
        }
        let jitter = options(&["--backoff", "polynomial", "--backoff-jitter", "101"]);
        let message = jitter.settings().unwrap_err().to_string();
        assert!(message.contains("backoff.jitter_percent: expected 0 to 100"), "{message}");
    }
}
