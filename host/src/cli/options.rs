//! Options that more than one command takes.

use std::collections::BTreeMap;
use std::time::Duration;

use jobwright_core::command::Texts;
use jobwright_core::limits::{Fuel, LimitsRequest};

use super::exit::Fault;

/// What the command is started with.
#[derive(Debug, clap::Args)]
pub(super) struct CommandOptions {
    /// An argument of the command; may be repeated.
    #[arg(long = "arg", value_name = "ARG", allow_hyphen_values = true)]
    pub(super) args: Vec<String>,
    /// An environment variable of the command; may be repeated.
    #[arg(long = "env", value_name = "NAME=VALUE", value_parser = variable)]
    pub(super) env: Vec<(String, String)>,
    /// Give the command a clock and random bytes that are the same every time.
    #[arg(long)]
    pub(super) deterministic: bool,
    /// The export to call, of a plugin that has several (Extism).
    #[arg(long, value_name = "NAME")]
    pub(super) entrypoint: Option<String>,
}

impl CommandOptions {
    /// The variables, if these and the arguments are such as a host takes too.
    pub(super) fn variables(&self) -> anyhow::Result<BTreeMap<String, String>> {
        let (mut env, mut faults) = (BTreeMap::new(), Vec::new());
        for (name, value) in &self.env {
            if env.insert(name.clone(), value.clone()).is_some() {
                faults.push(format!("env.{name}: is there twice"));
            }
        }
        let texts = Texts { args: &self.args, env: &env, tags: &[] };
        faults.extend(texts.faults().iter().map(ToString::to_string));
        if faults.is_empty() { Ok(env) } else { Err(Fault::Data.says(faults.join("; ")).into()) }
    }
}

/// What an attempt may use.
#[derive(Debug, clap::Args)]
pub(super) struct LimitOptions {
    /// Instructions: a number, or `unlimited`.
    #[arg(long, value_name = "N", value_parser = fuel)]
    fuel: Option<Fuel>,
    /// Wall time, such as 30s.
    #[arg(long, value_name = "TIME", value_parser = crate::config::parse_duration)]
    timeout: Option<Duration>,
    /// Memory, such as 128MiB.
    #[arg(long, value_name = "SIZE", value_parser = size)]
    memory: Option<u64>,
    /// Length of the output, such as 1MiB.
    #[arg(long, value_name = "SIZE", value_parser = size)]
    output_limit: Option<u64>,
    /// Length of the log that is kept, such as 256KiB.
    #[arg(long, value_name = "SIZE", value_parser = size)]
    log_limit: Option<u64>,
}

impl LimitOptions {
    pub(super) fn request(&self) -> LimitsRequest {
        let millis = |span: Duration| u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
        LimitsRequest {
            fuel: self.fuel,
            timeout_ms: self.timeout.map(millis),
            memory_bytes: self.memory,
            output_bytes: self.output_limit,
            log_bytes: self.log_limit,
            ..LimitsRequest::default()
        }
    }
}

fn variable(text: &str) -> Result<(String, String), String> {
    text.split_once('=')
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .ok_or_else(|| "use NAME=VALUE".to_owned())
}

fn fuel(text: &str) -> Result<Fuel, String> {
    match text.replace('_', "").parse() {
        Ok(units) => Ok(Fuel::Units(units)),
        Err(_) if text == "unlimited" => Ok(Fuel::Unlimited),
        Err(_) => Err("use a whole number or `unlimited`".to_owned()),
    }
}

fn size(text: &str) -> Result<u64, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let shift = match &text[digits.len()..] {
        "" | "B" => 0,
        "KiB" | "K" | "k" => 10,
        "MiB" | "M" => 20,
        "GiB" | "G" => 30,
        _ => return Err("use bytes, KiB, MiB or GiB, such as 64MiB".to_owned()),
    };
    let number: u64 = digits.parse().map_err(|_| "use a whole number, such as 64MiB".to_owned())?;
    number.checked_mul(1 << shift).ok_or_else(|| "that is too much".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_fuel_are_read_as_people_write_them() {
        assert_eq!(size("64MiB"), Ok(64 << 20));
        assert_eq!(size("7"), Ok(7));
        assert!(size("MiB").is_err() && size("1XB").is_err() && size("99999999999GiB").is_err());
        assert_eq!(fuel("1_000"), Ok(Fuel::Units(1000)));
        assert_eq!(fuel("unlimited"), Ok(Fuel::Unlimited));
        assert!(fuel("much").is_err());
    }
}
