//! The secrets of one tenant: as they are, and the values that they had.
//!
//! Invariant: a value that was replaced or removed stays hidden for as long as it is retired, for a
//! server that was sent it may repeat it later.

use std::collections::BTreeMap;

use super::bound::{MAX_RETIRED, MAX_SECRETS, Secret, SecretError};
use super::value::SecretValue;
use crate::clock::Timestamp;
use crate::grant::secret_name::SecretName;

/// See the documentation of the module.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TenantSecrets {
    names: BTreeMap<SecretName, Entry>,
}

/// The current and retired secrets of one name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Entry {
    /// The secret as it is; none if it was removed.
    pub current: Option<Secret>,
    /// Earlier secrets of this name, the oldest first.
    pub retired: Vec<Retired>,
}

/// A secret that was replaced or removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Retired {
    /// The secret.
    pub secret: Secret,
    /// When it was replaced or removed.
    pub at: Timestamp,
}

impl TenantSecrets {
    /// One secret as it is.
    #[must_use]
    pub fn get(&self, name: &SecretName) -> Option<&Secret> {
        self.names.get(name)?.current.as_ref()
    }

    /// All secrets as they are, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&SecretName, &Secret)> {
        self.names.iter().filter_map(|(name, entry)| Some((name, entry.current.as_ref()?)))
    }

    /// All that has had a name.
    #[must_use]
    pub fn names(&self) -> &BTreeMap<SecretName, Entry> {
        &self.names
    }

    /// Whether nothing is kept.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// Restores the previous secret of a name.
    pub fn restore(&mut self, name: SecretName, entry: Entry) {
        self.names.insert(name, entry);
    }

    /// Sets a secret; returns whether the name is new.
    ///
    /// # Errors
    /// [`SecretError::Full`] if there are too many.
    pub fn set(&mut self, name: &SecretName, secret: Secret) -> Result<bool, SecretError> {
        if self.get(name).is_none() && self.iter().count() >= MAX_SECRETS {
            return Err(SecretError::Full);
        }
        let at = secret.created_at;
        let entry = self.names.entry(name.clone()).or_default();
        let Some(before) = entry.current.replace(secret) else { return Ok(true) };
        entry.retire(before, at);
        self.bound();
        Ok(false)
    }

    /// Removes a secret at this time; returns whether there was one.
    pub fn remove(&mut self, name: &SecretName, at: Timestamp) -> bool {
        let Some(entry) = self.names.get_mut(name) else { return false };
        let Some(before) = entry.current.take() else { return false };
        entry.retire(before, at);
        self.bound();
        true
    }

    /// Every value, current or retired, granted to a plugin or not, of which an origin has the host of `to`,
    /// at any port and in any scheme: the host may remember what it was sent.
    #[must_use]
    pub fn known_to(&self, to: &http::Uri) -> Vec<SecretValue> {
        let all = self.names.values().flat_map(|entry| {
            entry.current.iter().chain(entry.retired.iter().map(|retired| &retired.secret))
        });
        let known = all.filter(|secret| secret.origins.iter().any(|origin| origin.has_host_of(to)));
        known.map(|secret| secret.value.clone()).collect()
    }

    /// Forgets values that were retired before `then`.
    pub fn forget(&mut self, then: Timestamp) {
        for entry in self.names.values_mut() {
            entry.retired.retain(|retired| retired.at >= then);
        }
        self.names.retain(|_, entry| entry.current.is_some() || !entry.retired.is_empty());
    }

    /// Forgets the oldest of the retired while there are too many.
    fn bound(&mut self) {
        while self.names.values().map(|entry| entry.retired.len()).sum::<usize>() > MAX_RETIRED {
            let oldest = self.names.values_mut().filter(|entry| !entry.retired.is_empty());
            if let Some(entry) = oldest.min_by_key(|entry| entry.retired[0].at) {
                entry.retired.remove(0);
            }
        }
        self.names.retain(|_, entry| entry.current.is_some() || !entry.retired.is_empty());
    }
}

impl Entry {
    /// Retires the value for origins that the present secret does not have.
    fn retire(&mut self, before: Secret, at: Timestamp) {
        let is_known = |secret: &Secret| {
            secret.value == before.value
                && before.origins.iter().all(|origin| secret.origins.contains(origin))
        };
        if !self.current.as_ref().is_some_and(is_known) {
            self.retired.push(Retired { secret: before, at });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(value: &str, origin: &str, second: i64) -> Secret {
        Secret {
            value: value.to_owned().try_into().expect("a value"),
            origins: vec![origin.parse().expect("an origin")],
            created_at: time(second),
        }
    }

    fn time(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("a time")
    }

    fn name(text: &str) -> SecretName {
        text.parse().expect("a name")
    }

    const HOME: &str = "https://api.example.com";

    fn known(shelf: &TenantSecrets, to: &str) -> Vec<String> {
        let known = shelf.known_to(&to.parse().expect("a URI"));
        known.iter().map(|value| value.reveal().to_owned()).collect()
    }

    #[test]
    fn a_value_is_known_to_its_host_at_any_port_and_in_any_scheme() {
        let mut shelf = TenantSecrets::default();
        shelf.set(&name("KEY"), secret("the-value", HOME, 1)).expect("room");
        for to in
            ["https://api.example.com/", "http://api.example.com:81/", "http://API.example.com./"]
        {
            assert_eq!(known(&shelf, to), ["the-value"], "{to}");
        }
        assert!(known(&shelf, "https://example.com/").is_empty());
    }

    #[test]
    fn a_value_that_was_replaced_or_removed_is_known_until_it_is_forgotten() {
        let mut shelf = TenantSecrets::default();
        let key = name("KEY");
        assert!(shelf.set(&key, secret("value-one", HOME, 1)).expect("room"));
        assert!(!shelf.set(&key, secret("value-two", HOME, 2)).expect("room"));
        assert!(!shelf.set(&key, secret("value-two", "https://b.example.com", 3)).expect("room"));
        assert!(shelf.remove(&key, time(4)) && !shelf.remove(&key, time(5)));
        assert_eq!(shelf.get(&key), None);
        assert_eq!(known(&shelf, HOME), ["value-one", "value-two"]);
        assert_eq!(known(&shelf, "https://b.example.com"), ["value-two"]);
        shelf.forget(time(3));
        assert_eq!(known(&shelf, HOME), ["value-two"]);
        shelf.forget(time(5));
        assert!(shelf.is_empty());
    }

    #[test]
    fn a_value_that_stays_where_it_was_is_not_retired() {
        let mut shelf = TenantSecrets::default();
        for second in 1..5 {
            shelf.set(&name("KEY"), secret("the-value", HOME, second)).expect("room");
        }
        assert_eq!(known(&shelf, HOME), ["the-value"]);
    }

    #[test]
    fn above_the_bound_the_oldest_retired_value_is_forgotten() {
        let mut shelf = TenantSecrets::default();
        let most = i64::try_from(MAX_RETIRED).expect("a number");
        for second in 0..=most + 1 {
            let of = name(if second % 2 == 0 { "EVEN" } else { "ODD" });
            shelf.set(&of, secret(&format!("old-value-{second}"), HOME, second)).expect("room");
        }
        assert_eq!(known(&shelf, HOME).len(), MAX_RETIRED + 2);
        assert!(known(&shelf, HOME).contains(&"old-value-0".to_owned()));
        shelf.set(&name("ODD"), secret("value-new", HOME, most + 2)).expect("room");
        assert_eq!(known(&shelf, HOME).len(), MAX_RETIRED + 2);
        assert!(!known(&shelf, HOME).contains(&"old-value-0".to_owned()));
    }

    #[test]
    fn the_number_of_current_secrets_is_bounded() {
        let mut shelf = TenantSecrets::default();
        for number in 0..MAX_SECRETS {
            shelf.set(&name(&format!("S{number}")), secret("the-value", HOME, 1)).expect("room");
        }
        let full = shelf.set(&name("KEY"), secret("the-value", HOME, 1));
        assert!(matches!(full, Err(SecretError::Full)), "{full:?}");
        assert!(!shelf.set(&name("S0"), secret("other-value", HOME, 1)).expect("it was there"));
        assert!(shelf.remove(&name("S0"), time(1)));
        assert!(shelf.set(&name("KEY"), secret("the-value", HOME, 1)).expect("room again"));
    }
}
