//! Access: API keys with their scopes, callers, the audit log, and the trait of their store.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use thiserror::Error;

use crate::clock::Timestamp;
use crate::name::shorten;
use crate::plugin::Digest;
use crate::store::StoreError;
use crate::tenant::TenantName;

/// A permission of a key, within its tenant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Scope {
    /// May upload, configure, disable and remove plugins.
    #[serde(rename = "plugins:write")]
    PluginsWrite,
    /// May enqueue, cancel and retry jobs, and to pause queues.
    #[serde(rename = "jobs:submit")]
    JobsSubmit,
    /// May read jobs, queues and plugins.
    #[serde(rename = "jobs:read")]
    JobsRead,
    /// May read the seeds of attempts, so that they can be replayed.
    #[serde(rename = "jobs:replay")]
    JobsReplay,
    /// May do everything, for every tenant: grants, keys, tenants, the audit log.
    #[serde(rename = "admin")]
    Admin,
}

impl Scope {
    /// Every one.
    pub const ALL: [Self; 5] =
        [Self::PluginsWrite, Self::JobsSubmit, Self::JobsRead, Self::JobsReplay, Self::Admin];
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::PluginsWrite => "plugins:write",
            Self::JobsSubmit => "jobs:submit",
            Self::JobsRead => "jobs:read",
            Self::JobsReplay => "jobs:replay",
            Self::Admin => "admin",
        })
    }
}

/// A string that is not a scope.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("`{0}` is not a scope: use plugins:write, jobs:submit, jobs:read, jobs:replay or admin")]
pub struct InvalidScope(String);

impl FromStr for Scope {
    type Err = InvalidScope;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let named = Self::ALL.into_iter().find(|scope| scope.to_string() == text);
        named.ok_or_else(|| InvalidScope(shorten(text)))
    }
}

/// An API key, without its token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApiKey {
    /// Its id, which is not secret.
    pub id: String,
    /// A description for people.
    pub name: String,
    /// Its tenant.
    pub tenant: TenantName,
    /// Its scopes.
    pub scopes: BTreeSet<Scope>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it expires; `None` for never.
    pub expires_at: Option<Timestamp>,
    /// When it was revoked.
    pub revoked_at: Option<Timestamp>,
}

impl ApiKey {
    /// Whether it is neither revoked nor expired at `now`.
    #[must_use]
    pub fn is_valid(&self, now: Timestamp) -> bool {
        self.revoked_at.is_none() && self.expires_at.is_none_or(|end| now < end)
    }
}

/// The keys to remove so that at most `most` of `keys` remain after another one is added: the
/// oldest revoked or expired keys. `keys` are sorted, oldest first. `None` if too many are valid.
#[must_use]
pub fn evictable(keys: &[ApiKey], most: usize, now: Timestamp) -> Option<Vec<&ApiKey>> {
    let surplus = (keys.len() + 1).saturating_sub(most);
    let ended = keys.iter().filter(|key| !key.is_valid(now));
    let gone: Vec<&ApiKey> = ended.take(surplus).collect();
    (gone.len() == surplus).then_some(gone)
}

/// The caller of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// The id of the key, or its replacement where there is none.
    pub actor: String,
    /// The tenant on whose behalf the caller acts.
    pub tenant: TenantName,
    /// The scopes of the caller.
    pub scopes: BTreeSet<Scope>,
    /// The proof of authentication.
    pub proof: Proof,
}

/// The proof by which a caller is authenticated. It can be revoked during a request, so it is checked again
/// before each action and each response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Proof {
    /// No proof: the host requires no key.
    Open,
    /// A key of the operator's file, which is read at the start only.
    File,
    /// A key that was made over HTTP, by the digest of its token.
    Key(Digest),
}

impl Caller {
    /// A caller of a host that requires no key, or with a key of the operator's file: has every scope, for the
    /// default tenant unless another one is named.
    #[must_use]
    pub fn operator(actor: impl Into<String>, proof: Proof) -> Self {
        let scopes = [Scope::Admin].into();
        Self { actor: actor.into(), tenant: TenantName::default(), scopes, proof }
    }

    /// The bearer of `key`, whose token has this digest.
    #[must_use]
    pub fn of(key: &ApiKey, token: Digest) -> Self {
        let ApiKey { id, tenant, scopes, .. } = key;
        let (actor, tenant, scopes) = (id.clone(), tenant.clone(), scopes.clone());
        Self { actor, tenant, scopes, proof: Proof::Key(token) }
    }

    /// Whether the caller may do what needs `scope`.
    #[must_use]
    pub fn may(&self, scope: Scope) -> bool {
        self.scopes.contains(&scope) || self.scopes.contains(&Scope::Admin)
    }

    /// The share of the audit log that entries of the caller count against.
    #[must_use]
    pub fn share(&self) -> AuditShare {
        match self.may(Scope::Admin) {
            true => AuditShare::Operator,
            false => AuditShare::Tenant(self.tenant.clone()),
        }
    }
}

/// The share of the audit log that an entry counts against. Each is bounded separately, so that no caller can
/// displace the entries of others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AuditShare {
    /// The share of callers with the scope admin, for every tenant.
    Operator,
    /// The share of a tenant's own keys.
    Tenant(TenantName),
}

/// An attempted administrative action. Its details are completed at most once, with what was decided; the
/// oldest entries of a share are removed when it is full.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AuditEntry {
    /// Its number, from 1.
    pub id: u64,
    /// When.
    pub at: Timestamp,
    /// The caller: the id of the key, or its replacement where there is none.
    pub actor: String,
    /// The tenant.
    pub tenant: TenantName,
    /// The action: `plugin.upload`, `key.revoke`, …
    pub action: String,
    /// The object of the action: a name or an id.
    pub target: String,
    /// Details of the action. Never secret.
    pub detail: Value,
}

/// An action to be written to the audit log before it is performed.
#[derive(Debug, Clone)]
pub struct Act {
    /// The entry; the log assigns its id.
    pub entry: AuditEntry,
    /// The tenant whose audit-log quota it counts against.
    pub share: AuditShare,
    /// The proof of the caller.
    pub proof: Proof,
}

/// Stores keys and the audit log.
///
/// Each request is authenticated several times: before it is read, before it acts and before it is answered.
/// So the methods for that answer from memory, within the bound of [staleness](crate::store#staleness). An
/// administrative action does not depend on them alone: it is recorded only if its key is valid in the same
/// transaction.
#[async_trait]
pub trait AccessStore: Send + Sync + 'static {
    /// Every key, also those that were revoked and not removed, oldest first.
    async fn keys(&self) -> Result<Vec<ApiKey>, StoreError>;

    /// Whether there ever was a key. From memory.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] if the memory is too old.
    fn has_keys(&self) -> Result<bool, StoreError>;

    /// The key of which the bearer's token has this digest. From memory.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] if the memory is too old: a key that was revoked must not be accepted.
    fn bearer(&self, token: &Digest) -> Result<Option<Arc<ApiKey>>, StoreError>;

    /// Adds a key, whose bearer's token has the digest `token`.
    async fn add_key(&self, key: ApiKey, token: Digest) -> Result<(), StoreError>;

    /// Records `act` and revokes the key with this id for good, in one step: the log has no later entry of the
    /// key. `None` if there is no key with this id, or the caller is no longer authorized.
    async fn revoke_key(&self, id: &str, act: Act) -> Result<Option<ApiKey>, StoreError>;

    /// Removes a key that is revoked or expired.
    async fn forget_key(&self, id: &str) -> Result<(), StoreError>;

    /// Adds to the audit log, unless the caller is no longer authorized at the time of the entry; returns
    /// the number of the entry if it was added.
    async fn record(&self, act: Act) -> Result<Option<u64>, StoreError>;

    /// Replaces the details of an entry. Does nothing if it was removed.
    async fn complete(&self, entry: AuditEntry) -> Result<(), StoreError>;

    /// At most `most` entries, newest first, those before the entry `before`.
    async fn audit(&self, before: Option<u64>, most: usize) -> Result<Vec<AuditEntry>, StoreError>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_invalid_keys_are_removed_to_make_room() {
        let at = |second| Timestamp::from_second(second).expect("in range");
        let key = |id: &str, revoked: bool, end: Option<i64>| ApiKey {
            id: id.to_owned(),
            name: String::new(),
            tenant: TenantName::default(),
            scopes: [Scope::JobsRead].into(),
            created_at: at(0),
            expires_at: end.map(at),
            revoked_at: revoked.then_some(at(1)),
        };
        let keys = [
            key("lasting", false, None),
            key("expired", false, Some(5)),
            key("short", false, Some(9)),
            key("revoked", true, None),
        ];
        let gone = |most| {
            let gone = evictable(&keys, most, at(5))?;
            Some(gone.iter().map(|key| key.id.as_str()).collect::<Vec<_>>())
        };
        assert_eq!(gone(5), Some(vec![]));
        assert_eq!(gone(4), Some(vec!["expired"]));
        assert_eq!(gone(3), Some(vec!["expired", "revoked"]));
        assert_eq!(gone(2), None);
    }

    #[test]
    fn administrators_count_against_the_operators_audit_share_and_others_against_their_tenants() {
        let tenant: TenantName = "acme".parse().expect("a name");
        let of = |scopes: &[Scope]| {
            let scopes = scopes.iter().copied().collect();
            let (tenant, proof) = (tenant.clone(), Proof::Open);
            Caller { actor: "key".to_owned(), tenant, scopes, proof }.share()
        };
        assert_eq!(of(&[Scope::JobsSubmit, Scope::Admin]), AuditShare::Operator);
        let others = [Scope::PluginsWrite, Scope::JobsSubmit, Scope::JobsRead];
        assert_eq!(of(&others), AuditShare::Tenant(tenant.clone()));
    }
}
