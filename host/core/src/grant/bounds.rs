//! Validation of grants: bounds on what can be granted at all, as grants use memory and sockets of the
//! host, and contradictions.

use super::grants::Grants;
use crate::command::variable_fault;
use crate::limits::bytes::show_bytes;
use crate::secret::bound::MAX_SECRETS;
use crate::text::shorten;

/// The maximum number of origins: each is compared with each request.
pub const MAX_ORIGINS: usize = 100;

/// The maximum number of methods, and of networks, of one origin.
pub const MAX_PER_ORIGIN: usize = 64;

/// The maximum number of concurrent requests of an attempt: the host has some thousand sockets.
pub const MAX_CONCURRENT: u32 = 64;

/// The longest body of a request or a response, in bytes: a quarter of the host's budget for
/// bodies.
pub const MAX_BODY_BYTES: u64 = 64 << 20;

impl Grants {
    /// Every invalid member, with its error.
    #[must_use]
    pub fn faults(&self) -> Vec<(String, String)> {
        let mut faults = vec![];
        self.length_faults(&mut faults);
        self.http_faults(&mut faults);
        self.name_faults(&mut faults);
        faults
    }

    /// Lists that are too long.
    fn length_faults(&self, faults: &mut Vec<(String, String)>) {
        let mut at_most = |field: String, found: usize, most: usize, what: &str| {
            if found > most {
                faults
                    .push((field, format!("has {found} {what}, more than the maximum of {most}")));
            }
        };
        at_most("http".to_owned(), self.http.len(), MAX_ORIGINS, "origins");
        at_most("secrets".to_owned(), self.secrets.len(), MAX_SECRETS, "secrets");
        for (place, grant) in self.http.iter().enumerate() {
            let methods = grant.methods.as_ref().map_or(0, Vec::len);
            at_most(format!("http.{place}.methods"), methods, MAX_PER_ORIGIN, "methods");
            let networks = grant.networks.len();
            at_most(format!("http.{place}.networks"), networks, MAX_PER_ORIGIN, "networks");
        }
    }

    /// Requests of which none would be allowed, and limits of requests that are out of range.
    fn http_faults(&self, faults: &mut Vec<(String, String)>) {
        for (place, grant) in self.http.iter().enumerate() {
            if grant.methods.as_ref().is_some_and(Vec::is_empty) {
                let message = "is empty, so nothing is allowed: leave it out to allow every \
                               method";
                faults.push((format!("http.{place}.methods"), message.to_owned()));
            }
        }
        let limits = &self.http_limits;
        if !(1..=MAX_CONCURRENT).contains(&limits.concurrent) {
            let message = format!("is {}, use 1 to {MAX_CONCURRENT}", limits.concurrent);
            faults.push(("http_limits.concurrent".to_owned(), message));
        }
        for (name, bytes) in
            [("request_bytes", limits.request_bytes), ("response_bytes", limits.response_bytes)]
        {
            if bytes > MAX_BODY_BYTES {
                let (found, most) = (show_bytes(bytes), show_bytes(MAX_BODY_BYTES));
                faults.push((
                    format!("http_limits.{name}"),
                    format!("is {found}, more than the maximum of {most}"),
                ));
            }
        }
    }

    /// Invalid names of variables, and names that are used twice.
    fn name_faults(&self, faults: &mut Vec<(String, String)>) {
        for (name, value) in &self.env {
            if let Some(fault) = variable_fault(name, value) {
                faults.push((format!("env.{}", shorten(name)), fault.to_owned()));
            }
        }
        for name in &self.secrets {
            if let Some(fault) = variable_fault(name.as_str(), "") {
                faults.push(("secrets".to_owned(), format!("`{name}` {fault}")));
            }
            for (member, values) in [("config", &self.config), ("env", &self.env)] {
                if values.contains_key(name.as_str()) {
                    let message = "is also the name of a granted secret: remove one of them";
                    faults.push((format!("{member}.{name}"), message.to_owned()));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_above_its_bound_is_named() {
        assert_eq!(Grants::default().faults(), []);
        let mut grants = Grants::default();
        let grant = r#"{ "origin": "https://*", "networks": ["10.0.0.0/8"] }"#;
        grants.http = vec![serde_json::from_str(grant).expect("a grant"); MAX_ORIGINS + 1];
        grants.http[3].networks = vec!["10.0.0.0/8".parse().expect("a network"); 65];
        grants.http_limits.concurrent = 0;
        grants.http_limits.response_bytes = u64::MAX;
        let faults = grants.faults();
        let fields: Vec<&str> = faults.iter().map(|(field, _)| field.as_str()).collect();
        assert_eq!(
            fields,
            ["http", "http.3.networks", "http_limits.concurrent", "http_limits.response_bytes"]
        );
    }

    #[test]
    fn contradictions_are_reported() {
        let faults = |json: &str| -> Vec<String> {
            let grants: Grants = serde_json::from_str(json).expect(json);
            grants.faults().into_iter().map(|(field, _)| field).collect()
        };
        let good = r#"{ "env": { "A_1": "", "b": "=" }, "secrets": ["KEY"],
            "config": { "any name": "", "JOBWRIGHT_X": "" },
            "http": [{ "origin": "https://*", "methods": ["GET"] }] }"#;
        assert_eq!(faults(good), Vec::<String>::new());
        for (wrong, field) in [
            (r#"{ "env": { "": "" } }"#, "env."),
            (r#"{ "env": { "A=B": "" } }"#, "env.A=B"),
            (r#"{ "env": { "JOBWRIGHT_JOB_ID": "" } }"#, "env.JOBWRIGHT_JOB_ID"),
            (r#"{ "env": { "A": "\u0000" } }"#, "env.A"),
            (r#"{ "secrets": ["JOBWRIGHT_JOB_ID"] }"#, "secrets"),
            (r#"{ "secrets": ["A"], "config": { "A": "1" } }"#, "config.A"),
            (r#"{ "secrets": ["A"], "env": { "A": "1" } }"#, "env.A"),
            (r#"{ "http": [{ "origin": "https://*", "methods": [] }] }"#, "http.0.methods"),
        ] {
            assert_eq!(faults(wrong), [field], "{wrong}");
        }
    }
}
