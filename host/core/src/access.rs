//! Who may ask for what, and who has: API keys with their scopes, callers, and the audit log; and the
//! seam to where keys and log are kept.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use thiserror::Error;

use crate::clock::Timestamp;
use crate::name::shorten;
use crate::plugin::Digest;
use crate::store::StoreError;
use crate::tenant::TenantName;

/// What a key may be used for, within its tenant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Scope {
    /// To upload, set up, switch off and remove plugins.
    #[serde(rename = "plugins:write")]
    PluginsWrite,
    /// To enqueue, cancel and retry jobs, and to pause queues.
    #[serde(rename = "jobs:submit")]
    JobsSubmit,
    /// To read jobs, queues and plugins.
    #[serde(rename = "jobs:read")]
    JobsRead,
    /// To read what the random numbers of attempts follow from, so that they can be made again.
    #[serde(rename = "jobs:replay")]
    JobsReplay,
    /// Everything, for every tenant: grants, keys, tenants, the audit log.
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

/// Text that names no scope.
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

/// An API key, without what its bearer holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApiKey {
    /// What it is called by: no secret.
    pub id: String,
    /// What it is for, in words.
    pub name: String,
    /// Whose it is.
    pub tenant: TenantName,
    /// What for.
    pub scopes: BTreeSet<Scope>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it ends, if it does.
    pub expires_at: Option<Timestamp>,
    /// When it was revoked.
    pub revoked_at: Option<Timestamp>,
}

impl ApiKey {
    /// Whether it lets anyone in at `now`.
    #[must_use]
    pub fn is_valid(&self, now: Timestamp) -> bool {
        self.revoked_at.is_none() && self.expires_at.is_none_or(|end| now < end)
    }
}

/// The keys to forget so that one more makes no more than `most` of `keys`, which are sorted from the
/// oldest on: the oldest of those that let nobody in any more. `None` if too many still do.
#[must_use]
pub fn outlived(keys: &[ApiKey], most: usize, now: Timestamp) -> Option<Vec<&ApiKey>> {
    let surplus = (keys.len() + 1).saturating_sub(most);
    let ended = keys.iter().filter(|key| !key.is_valid(now));
    let gone: Vec<&ApiKey> = ended.take(surplus).collect();
    (gone.len() == surplus).then_some(gone)
}

/// Who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// The id of the key, or what stands in for one.
    pub actor: String,
    /// For whom.
    pub tenant: TenantName,
    /// What the caller may do.
    pub scopes: BTreeSet<Scope>,
    /// What lets the caller in.
    pub proof: Proof,
}

/// What lets a caller in. It can end while a request is under way, so it is checked again before each
/// action and each answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Proof {
    /// The host demands no key: there never was one.
    Open,
    /// A key in the operator's file, which is read at the start only.
    File,
    /// A key that was made over HTTP, by the digest of its token.
    Key(Digest),
}

impl Caller {
    /// Whoever asks a host that demands no key, or bears one that its operator wrote into a file: may
    /// do everything, for the usual tenant unless another one is named.
    #[must_use]
    pub fn operator(actor: impl Into<String>, proof: Proof) -> Self {
        let scopes = [Scope::Admin].into();
        Self { actor: actor.into(), tenant: TenantName::default(), scopes, proof }
    }

    /// The bearer of `key`, whose token has this digest.
    #[must_use]
    pub fn of(key: ApiKey, token: Digest) -> Self {
        let ApiKey { id: actor, tenant, scopes, .. } = key;
        Self { actor, tenant, scopes, proof: Proof::Key(token) }
    }

    /// Whether the caller may do what needs `scope`.
    #[must_use]
    pub fn may(&self, scope: Scope) -> bool {
        self.scopes.contains(&scope) || self.scopes.contains(&Scope::Admin)
    }

    /// Whose share of the audit log the caller's deeds take.
    #[must_use]
    pub fn share(&self) -> AuditShare {
        match self.may(Scope::Admin) {
            true => AuditShare::Operator,
            false => AuditShare::Tenant(self.tenant.clone()),
        }
    }
}

/// Whose room of the audit log an entry takes. Each is bounded by itself, so that nobody displaces what
/// tells of others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AuditShare {
    /// That of callers with the scope admin, for whichever tenant they ask.
    Operator,
    /// That of a tenant's own keys.
    Tenant(TenantName),
}

/// Something that somebody set out to do. Never changed; the oldest of a share go when there are too
/// many of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AuditEntry {
    /// Its place, counted from 1.
    pub id: u64,
    /// When.
    pub at: Timestamp,
    /// Who: the id of the key, or what stands in for one.
    pub actor: String,
    /// For whom.
    pub tenant: TenantName,
    /// What: `plugin.upload`, `key.revoke`, …
    pub action: String,
    /// To what: a name, an id.
    pub target: String,
    /// How, as far as it is worth knowing later. Nothing secret.
    pub detail: Value,
}

/// Something to be written into the audit log, before it is done.
#[derive(Debug, Clone)]
pub struct Act {
    /// What; its id is given by the log.
    pub entry: AuditEntry,
    /// The tenant whose audit-log quota it counts against.
    pub share: AuditShare,
    /// What lets the caller do it.
    pub proof: Proof,
}

/// Keeps keys and the audit log.
#[async_trait]
pub trait AccessStore: Send + Sync + 'static {
    /// Every key, also those that were revoked and not forgotten, oldest first.
    fn keys(&self) -> Vec<ApiKey>;

    /// Whether there ever was a key.
    fn has_keys(&self) -> bool;

    /// The key of which the bearer's token has this digest.
    fn bearer(&self, token: &Digest) -> Option<ApiKey>;

    /// Adds a key, whose bearer's token has the digest `token`.
    async fn add_key(&self, key: ApiKey, token: Digest) -> Result<(), StoreError>;

    /// Writes `act` down and revokes the key with this id, for good and in one step: of the key's
    /// bearer there is no later entry. `None` if there is none with this id, or nothing lets the
    /// caller do it any more.
    async fn revoke_key(&self, id: &str, act: Act) -> Result<Option<ApiKey>, StoreError>;

    /// Forgets a key, which lets nobody in any more.
    async fn forget_key(&self, id: &str) -> Result<(), StoreError>;

    /// Adds to the audit log, unless nothing lets the caller act any more at the time of the entry;
    /// answers whether it was added.
    async fn record(&self, act: Act) -> Result<bool, StoreError>;

    /// At most `most` entries, newest first, those before the entry `before`.
    async fn audit(&self, before: Option<u64>, most: usize) -> Result<Vec<AuditEntry>, StoreError>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_for_a_key_is_made_by_the_oldest_that_let_nobody_in_any_more() {
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
            let gone = outlived(&keys, most, at(5))?;
            Some(gone.iter().map(|key| key.id.as_str()).collect::<Vec<_>>())
        };
        assert_eq!(gone(5), Some(vec![]));
        assert_eq!(gone(4), Some(vec!["expired"]));
        assert_eq!(gone(3), Some(vec!["expired", "revoked"]));
        assert_eq!(gone(2), None);
    }

    #[test]
    fn who_administers_takes_the_operators_share_of_the_log_and_others_their_tenants() {
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
