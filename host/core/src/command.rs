//! Arguments and environment variables of a command, and the tags of a job. The same rules apply on every
//! way in.

use std::collections::BTreeMap;

use thiserror::Error;

use crate::name::shorten;

/// The maximum size of arguments, environment and tags together, in bytes: they are stored in the
/// hot table. Long data belongs into the payload.
const MAX_TEXT_BYTES: usize = 16 << 10;

/// The maximum number of arguments, of variables, and of tags.
const MAX_ITEMS: usize = 64;

/// The arguments, variables and tags of a job.
#[derive(Debug, Clone, Copy)]
pub struct CommandInput<'a> {
    /// Arguments, after the command's name.
    pub args: &'a [String],
    /// Environment variables.
    pub env: &'a BTreeMap<String, String>,
    /// Labels for people and filters.
    pub tags: &'a [String],
}

/// An argument, variable or tag that is refused.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{field}: {message}")]
pub struct InvalidInput {
    /// `args`, `env`, `tags`, or `env.NAME`.
    pub field: String,
    /// Both values, with their unit.
    pub message: String,
}

impl CommandInput<'_> {
    /// Everything that is wrong with them.
    #[must_use]
    pub fn faults(&self) -> Vec<InvalidInput> {
        let mut faults = Vec::new();
        let mut wrong = |field: &str, message: String| {
            faults.push(InvalidInput { field: field.to_owned(), message });
        };
        for (field, count) in
            [("args", self.args.len()), ("env", self.env.len()), ("tags", self.tags.len())]
        {
            if count > MAX_ITEMS {
                wrong(field, format!("has {count} items, more than the maximum of {MAX_ITEMS}"));
            }
        }
        let total = self.bytes();
        if total > MAX_TEXT_BYTES {
            let message = format!(
                "args, env and tags take {total} bytes, more than the maximum of {MAX_TEXT_BYTES} \
                 bytes: put long data into the payload"
            );
            wrong("args", message);
        }
        if self.args.iter().any(|arg| arg.contains('\0')) {
            wrong(
                "args",
                "an argument contains a NUL character, which commands cannot receive".to_owned(),
            );
        }
        for (name, value) in self.env.iter().take(MAX_ITEMS) {
            let field = format!("env.{}", shorten(name));
            if let Some(fault) = variable_fault(name, value) {
                wrong(&field, fault.to_owned());
            }
        }
        faults
    }

    fn bytes(&self) -> usize {
        let pairs = self.env.iter().flat_map(|(name, value)| [name, value]);
        self.args.iter().chain(self.tags).chain(pairs).map(String::len).sum()
    }
}

/// Why an environment cannot have this variable, if it cannot.
pub(crate) fn variable_fault(name: &str, value: &str) -> Option<&'static str> {
    if !is_variable(name) {
        Some(
            "is not a variable's name: use A-Z, a-z, 0-9 and `_`, no digit first, and not \
             `JOBWRIGHT_…`",
        )
    } else if value.contains('\0') {
        Some("the value contains a NUL character, which variables cannot have")
    } else {
        None
    }
}

fn is_variable(name: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    name.bytes().all(plain)
        && name.bytes().next().is_some_and(|first| !first.is_ascii_digit())
        && !name.starts_with("JOBWRIGHT_")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faulty(args: &[&str], env: &[(&str, &str)]) -> Vec<String> {
        let args: Vec<String> = args.iter().map(ToString::to_string).collect();
        let env = env.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
        let faults = CommandInput { args: &args, env: &env, tags: &[] }.faults();
        faults.into_iter().map(|fault| fault.field).collect()
    }

    #[test]
    fn every_invalid_argument_and_variable_is_named() {
        assert!(faulty(&["-x", "", "ä b"], &[("N", "5"), ("_empty", "")]).is_empty());
        let names = [("", ""), ("1N", ""), ("A=B", ""), ("JOBWRIGHT_X", ""), ("N", "\0")];
        let fields = ["args", "env.", "env.1N", "env.A=B", "env.JOBWRIGHT_X", "env.N"];
        assert_eq!(faulty(&["\0"], &names), fields);
        assert_eq!(faulty(&[""; 65], &[]), ["args"]);
        assert_eq!(faulty(&[&"x".repeat(16 << 10), "y"], &[]), ["args"]);
    }
}
