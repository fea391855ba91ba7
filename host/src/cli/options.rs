//! Options of several commands. A flag has the same meaning in all of them.

use std::collections::BTreeMap;

use jobwright_core::command::CommandInput;
use jobwright_core::limits::{DEFAULT_STACK_BYTES, LimitsRequest, STACK_BYTES, flag, show_bytes};
use serde_json::{Map, Value};

use super::exit::Fault;
use crate::config::parse_duration;

/// The heading of the global options.
pub(super) const GLOBAL: &str = "Global options";

/// The stack size of guests that a command runs itself.
#[derive(Debug, Clone, Copy, Default, clap::Args)]
pub(super) struct StackOptions {
    /// The stack size of the guest, such as 4MiB; at most 64MiB [default: 512KiB].
    #[arg(long, value_name = "SIZE", value_parser = stack_bytes, help_heading = LIMITS)]
    stack_bytes: Option<u64>,
}

impl StackOptions {
    /// The size, in bytes.
    pub(super) fn bytes(self) -> u64 {
        self.stack_bytes.unwrap_or(DEFAULT_STACK_BYTES)
    }
}

/// The heading of the limits of an attempt.
const LIMITS: &str = "Limits of an attempt";

/// Arguments and environment of the guest.
#[derive(Debug, clap::Args)]
pub(super) struct CommandOptions {
    /// An argument of the command; repeatable [default: none].
    #[arg(long = "arg", value_name = "ARG", allow_hyphen_values = true)]
    pub(super) args: Vec<String>,
    /// An environment variable of the command; repeatable [default: none].
    #[arg(long = "env", value_name = "NAME=VALUE", value_parser = assignment)]
    pub(super) env: Vec<(String, String)>,
    /// Give every attempt the same clock and random bytes.
    #[arg(long)]
    pub(super) deterministic: bool,
    /// Leave the variables `JOBWRIGHT_…` out of the command's environment.
    #[arg(long)]
    pub(super) no_inject_env: bool,
    /// The export to call, of an Extism plug-in with several [default: the only one].
    #[arg(long, value_name = "NAME")]
    pub(super) entrypoint: Option<String>,
}

impl CommandOptions {
    /// The environment variables.
    ///
    /// # Errors
    /// If a host would refuse the variables or the arguments.
    pub(super) fn variables(&self) -> anyhow::Result<BTreeMap<String, String>> {
        let (mut env, mut faults) = (BTreeMap::new(), Vec::new());
        for (name, value) in &self.env {
            if env.insert(name.clone(), value.clone()).is_some() {
                faults.push(format!("env.{name}: is given twice"));
            }
        }
        let texts = CommandInput { args: &self.args, env: &env, tags: &[] };
        faults.extend(texts.faults().iter().map(ToString::to_string));
        if faults.is_empty() { Ok(env) } else { Err(Fault::Data.failure(faults.join("; ")).into()) }
    }
}

/// The limits of an attempt. `none` unsets the setting of a plugin.
#[derive(Debug, Clone, Default, clap::Args)]
pub(super) struct LimitOptions {
    /// The maximum fuel, which is about the number of instructions, or `unlimited` [default:
    /// 300000000000].
    #[arg(long, value_name = "N", value_parser = fuel, help_heading = LIMITS)]
    fuel: Option<Value>,
    /// The maximum wall time, such as 90s or 5m [default: 60s].
    #[arg(long, value_name = "TIME", value_parser = millis, help_heading = LIMITS)]
    timeout: Option<Value>,
    /// The maximum memory, such as 128MiB [default: 64MiB].
    #[arg(long, value_name = "SIZE", value_parser = size, help_heading = LIMITS)]
    memory: Option<Value>,
    /// The maximum length of the output [default: 1MiB].
    #[arg(long, value_name = "SIZE", value_parser = size, help_heading = LIMITS)]
    output_limit: Option<Value>,
    /// The maximum length of the log; the rest is dropped [default: 256KiB].
    #[arg(long, value_name = "SIZE", value_parser = size, help_heading = LIMITS)]
    log_limit: Option<Value>,
    /// The maximum length of the checkpoint [default: 1MiB].
    #[arg(long, value_name = "SIZE", value_parser = size, help_heading = LIMITS)]
    checkpoint_limit: Option<Value>,
    /// The maximum number of elements of all WebAssembly tables [default: 100000].
    #[arg(long, value_name = "N", value_parser = count, help_heading = LIMITS)]
    tables: Option<Value>,
    /// The maximum number of handles to host resources [default: 1000].
    #[arg(long, value_name = "N", value_parser = count, help_heading = LIMITS)]
    resources: Option<Value>,
    /// The time that a guest which polls for cancellation gets to end [default: 1s].
    #[arg(long, value_name = "TIME", value_parser = millis, help_heading = LIMITS)]
    grace: Option<Value>,
}

impl LimitOptions {
    /// The given limits, by field name; `null` for `none`.
    pub(super) fn given(&self) -> Map<String, Value> {
        let all = [
            ("fuel", &self.fuel),
            ("timeout_ms", &self.timeout),
            ("memory_bytes", &self.memory),
            ("output_bytes", &self.output_limit),
            ("log_bytes", &self.log_limit),
            ("checkpoint_bytes", &self.checkpoint_limit),
            ("tables", &self.tables),
            ("resources", &self.resources),
            ("grace_ms", &self.grace),
        ];
        let given = all.into_iter().filter_map(|(name, value)| Some((name, value.as_ref()?)));
        given.map(|(name, value)| (name.to_owned(), value.clone())).collect()
    }

    /// The limits of one job.
    ///
    /// # Errors
    /// If one is `none`: only a setting can be unset.
    pub(super) fn of_job(&self) -> anyhow::Result<Map<String, Value>> {
        let given = self.given();
        match given.iter().find(|(_, value)| value.is_null()) {
            None => Ok(given),
            Some((field, _)) => {
                let flag = flag(field);
                let message =
                    format!("{flag} none is for plugin settings: leave {flag} out for the default");
                Err(Fault::Usage.failure(message).into())
            }
        }
    }

    /// The limits of one job, as the limits in a job request.
    pub(super) fn request(&self) -> anyhow::Result<LimitsRequest> {
        // The value parsers have checked the types.
        Ok(serde_json::from_value(self.of_job()?.into()).unwrap_or_default())
    }
}

/// Whether `text` has a control character that is not allowed in a header (RFC 9110, 5.5): any but tabs.
pub(super) fn has_control_character(text: &str) -> bool {
    text.bytes().any(|byte| byte.is_ascii_control() && byte != b'\t')
}

/// Parses a string that is sent in a header.
pub(super) fn header(text: &str) -> Result<String, String> {
    if has_control_character(text) {
        return Err("it contains a control character, perhaps a line break at its end".to_owned());
    }
    Ok(text.to_owned())
}

/// Parses `NAME=VALUE`.
pub(super) fn assignment(text: &str) -> Result<(String, String), String> {
    text.split_once('=')
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .ok_or_else(|| "use NAME=VALUE".to_owned())
}

/// Reads JSON that is given literally, as the name of a file (with or without a leading `@`), or on stdin
/// (`-`).
pub(super) fn read_json(given: &str, what: &str) -> anyhow::Result<Value> {
    use anyhow::Context as _;
    let text = if given == "-" {
        std::io::read_to_string(std::io::stdin()).with_context(|| format!("cannot read {what}"))?
    } else if given.trim_start().starts_with('{') || given == "null" {
        given.to_owned()
    } else {
        let file = given.strip_prefix('@').unwrap_or(given);
        std::fs::read_to_string(file)
            .with_context(|| Fault::NoInput.failure(format!("cannot read {what} in {file}")))?
    };
    let wrong = |error| Fault::Data.failure(format!("{what} are not JSON: {error}"));
    // Some editors begin a file with a byte-order mark.
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    Ok(serde_json::from_str(text).map_err(wrong)?)
}

fn count(text: &str) -> Result<Value, String> {
    if text == "none" {
        return Ok(Value::Null);
    }
    let number = text.replace('_', "").parse::<u64>();
    number.map(Value::from).map_err(|_| "use a whole number, or `none`".to_owned())
}

fn fuel(text: &str) -> Result<Value, String> {
    match text {
        "unlimited" => Ok("unlimited".into()),
        _ => count(text).map_err(|_| "use a whole number, `unlimited` or `none`".to_owned()),
    }
}

fn millis(text: &str) -> Result<Value, String> {
    if text == "none" {
        return Ok(Value::Null);
    }
    let span = parse_duration(text)?;
    Ok(u64::try_from(span.as_millis()).unwrap_or(u64::MAX).into())
}

pub(super) fn size(text: &str) -> Result<Value, String> {
    if text == "none" {
        return Ok(Value::Null);
    }
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let shift = match &text[digits.len()..] {
        "" | "B" => 0,
        "KiB" | "K" | "k" => 10,
        "MiB" | "M" => 20,
        "GiB" | "G" => 30,
        _ => return Err("use bytes, KiB, MiB or GiB, such as 64MiB, or `none`".to_owned()),
    };
    let number: u64 =
        digits.parse().map_err(|_| "use a whole number, such as 64MiB, or `none`".to_owned())?;
    let too_large = || format!("{text} is more than {} bytes", u64::MAX);
    let bytes = number.checked_mul(1 << shift).ok_or_else(too_large)?;
    Ok(bytes.into())
}

/// Parses the size of a stack.
pub(super) fn stack_bytes(text: &str) -> Result<u64, String> {
    let bytes = size(text)?.as_u64().filter(|bytes| STACK_BYTES.contains(bytes));
    let (least, most) = STACK_BYTES.into_inner();
    bytes.ok_or_else(|| {
        format!("use a size from {} to {}, such as 4MiB", show_bytes(least), show_bytes(most))
    })
}

/// Changes the help of an argument that sets a plugin setting: without the argument, the setting stays as it
/// is; the default in the help is that of the setting.
pub(super) fn of_setting(arg: clap::Arg) -> clap::Arg {
    let Some(help) = arg.get_help().map(ToString::to_string) else { return arg };
    match help.split_once("[default: ") {
        Some((text, default))
            if !default.starts_with("as it is") && !default.starts_with("as they") =>
        {
            arg.help(format!("{text}[default: as it is; if unset, {default}"))
        }
        _ => arg,
    }
}

#[cfg(test)]
mod tests {
    use clap::Args as _;
    use jobwright_core::limits::{Fuel, Limits};
    use serde_json::json;

    use super::*;

    #[test]
    fn sizes_and_fuel_are_read_as_people_write_them() {
        assert_eq!(size("64MiB"), Ok(json!(64 << 20)));
        assert_eq!(size("7"), Ok(json!(7)));
        assert!(size("MiB").is_err() && size("1XB").is_err() && size("99999999999GiB").is_err());
        assert_eq!(fuel("1_000"), Ok(json!(1000)));
        assert_eq!(fuel("unlimited"), Ok(json!("unlimited")));
        assert!(fuel("much").is_err());
        for none in [size("none"), fuel("none"), millis("none"), count("none")] {
            assert_eq!(none, Ok(Value::Null));
        }
    }

    #[test]
    fn a_header_has_no_control_characters_but_tabs() {
        for good in ["a b\tc", "ä", ""] {
            assert_eq!(header(good).as_deref(), Ok(good));
        }
        for bad in ["a\n", "a\r", "\0", "\u{7f}"] {
            assert!(header(bad).is_err_and(|message| message.contains("line break")), "{bad:?}");
        }
    }

    #[test]
    fn limits_are_given_by_their_field_names() {
        let options =
            LimitOptions { fuel: Some(json!(5)), grace: Some(Value::Null), ..Default::default() };
        assert_eq!(json!(options.given()), json!({ "fuel": 5, "grace_ms": null }));
        let error = options.request().expect_err("nothing to unset").to_string();
        assert!(error.contains("leave --grace out"), "{error}");
        let fuel = Some(Fuel::Units(5));
        let request = LimitOptions { grace: None, ..options }.request().expect("limits");
        assert_eq!(request, LimitsRequest { fuel, ..LimitsRequest::default() });
    }

    #[test]
    fn a_stack_is_as_large_as_a_host_allows() {
        assert_eq!(stack_bytes("4MiB"), Ok(4 << 20));
        for bad in ["none", "1KiB", "65MiB", "x"] {
            assert!(stack_bytes(bad).is_err(), "{bad}");
        }
    }

    /// The defaults in the help are those of a host with the default configuration.
    #[test]
    fn the_defaults_in_the_help_are_those_of_the_code() {
        let command = LimitOptions::augment_args(clap::Command::new("limits"));
        let all = serde_json::to_value(Limits::DEFAULT).expect("numbers");
        let mut checked = 0;
        for arg in command.get_arguments() {
            let help = arg.get_help().expect("each has help").to_string();
            let (_, default) = help.split_once("[default: ").expect("each has a default");
            let parsers = [fuel as fn(&str) -> _, millis, size, count];
            let default = default.trim_end_matches([']', '.']);
            let field = LimitOptions::field(arg.get_id().as_str());
            let same = parsers.iter().any(|parse| parse(default).as_ref() == Ok(&all[field]));
            assert!(same, "{field}: the help says {default}, the code {}", all[field]);
            checked += 1;
        }
        assert_eq!(checked, all.as_object().map_or(0, Map::len), "every limit has a flag");
    }

    impl LimitOptions {
        fn field(id: &str) -> &str {
            match id {
                "timeout" => "timeout_ms",
                "grace" => "grace_ms",
                "memory" => "memory_bytes",
                "output_limit" => "output_bytes",
                "log_limit" => "log_bytes",
                "checkpoint_limit" => "checkpoint_bytes",
                other => other,
            }
        }
    }
}
