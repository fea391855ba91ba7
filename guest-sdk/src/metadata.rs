//! The metadata of a job: the record `metadata` of `wit/job.wit`.

use std::sync::OnceLock;

/// The metadata of the job. The defaults apply without a host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Metadata {
    pub(crate) id: String,
    pub(crate) attempt: u32,
    pub(crate) max_attempts: u32,
    /// `None` without a host, or with one before version 0.2.
    pub(crate) failures: Option<u32>,
    /// `None` without a host, or with one before version 0.2.
    pub(crate) attempts_left: Option<u32>,
    pub(crate) queue: String,
    pub(crate) plugin: String,
    pub(crate) created_at_ms: u64,
    /// A core module parses the tags only when they are read: without that, the module does not contain the
    /// JSON parser, which takes 20 kB.
    pub(crate) tags: OnceLock<Vec<String>>,
    pub(crate) tags_json: String,
    pub(crate) args: Vec<String>,
    pub(crate) env: Vec<(String, String)>,
}

/// The prefix of the host's variables; all others are the submitter's.
const OURS: &str = "JOBWRIGHT_";

impl Default for Metadata {
    fn default() -> Self {
        Self {
            id: "local".to_owned(),
            attempt: 1,
            max_attempts: 1,
            failures: None,
            attempts_left: None,
            queue: "local".to_owned(),
            plugin: "local".to_owned(),
            created_at_ms: 0,
            tags: OnceLock::new(),
            tags_json: String::new(),
            args: Vec::new(),
            env: Vec::new(),
        }
    }
}

impl Metadata {
    /// From the arguments of a command, without its name, and its environment.
    pub(crate) fn from_process() -> Self {
        let args = std::env::args_os().skip(1).map(|arg| arg.to_string_lossy().into_owned());
        let variables = std::env::vars_os().map(|(name, value)| {
            (name.to_string_lossy().into_owned(), value.to_string_lossy().into_owned())
        });
        Self::new(args, variables)
    }

    fn new(
        args: impl Iterator<Item = String>,
        variables: impl Iterator<Item = (String, String)>,
    ) -> Self {
        let mut metadata = Self { args: args.collect(), ..Self::default() };
        for (name, value) in variables {
            match name.strip_prefix(OURS) {
                Some(name) => metadata.set(name, value),
                None => metadata.env.push((name, value)),
            }
        }
        metadata
    }

    pub(crate) fn tags(&self) -> &[String] {
        self.tags.get_or_init(|| serde_json::from_str(&self.tags_json).unwrap_or_default())
    }

    /// Sets a field from one of the host's variables. Unknown variables and invalid values are ignored.
    fn set(&mut self, name: &str, value: String) {
        match name {
            "JOB_ID" => self.id = value,
            "ATTEMPT" => self.attempt = value.parse().unwrap_or(self.attempt),
            "MAX_ATTEMPTS" => self.max_attempts = value.parse().unwrap_or(self.max_attempts),
            "FAILURES" => self.failures = value.parse().ok(),
            "ATTEMPTS_LEFT" => self.attempts_left = value.parse().ok(),
            "QUEUE" => self.queue = value,
            "PLUGIN" => self.plugin = value,
            "CREATED_AT_MS" => self.created_at_ms = value.parse().unwrap_or(self.created_at_ms),
            // Tags may hold any character, so they come as a JSON array.
            "TAGS" => self.tags_json = value,
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Metadata;

    #[test]
    fn the_environment_identifies_the_job() {
        let variables = [
            ("JOBWRIGHT_JOB_ID", "0199-7"),
            ("JOBWRIGHT_ATTEMPT", "3"),
            ("JOBWRIGHT_MAX_ATTEMPTS", "5"),
            ("JOBWRIGHT_FAILURES", "1"),
            ("JOBWRIGHT_ATTEMPTS_LEFT", "2"),
            ("JOBWRIGHT_QUEUE", "mail"),
            ("JOBWRIGHT_PLUGIN", "send@1.2.0"),
            ("JOBWRIGHT_CREATED_AT_MS", "1790000000000"),
            ("JOBWRIGHT_TAGS", r#"["a,b","c"]"#),
            ("JOBWRIGHT_SOMETHING_NEW", "1"),
            ("COLOUR", "blue"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()));
        let metadata = Metadata::new(["12".to_owned()].into_iter(), variables.into_iter());
        assert_eq!(metadata.tags(), ["a,b", "c"]);
        let expected = Metadata {
            id: "0199-7".into(),
            attempt: 3,
            max_attempts: 5,
            failures: Some(1),
            attempts_left: Some(2),
            queue: "mail".into(),
            plugin: "send@1.2.0".into(),
            created_at_ms: 1_790_000_000_000,
            tags: metadata.tags.clone(),
            tags_json: metadata.tags_json.clone(),
            args: vec!["12".into()],
            env: vec![("COLOUR".into(), "blue".into())],
        };
        assert_eq!(metadata, expected);
    }
}
