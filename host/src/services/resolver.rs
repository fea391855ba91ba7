//! Resolves host names to addresses.

use std::fmt::Debug;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs as _};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use jobwright_core::services::HttpRequestError;
use jobwright_core::tenant::TenantName;
use tokio::time::timeout;

pub use crate::shares::Permit;
use crate::shares::Shares;
use crate::shares::table::NAME_LOOKUPS;

/// Looks up the addresses of hosts.
#[async_trait]
pub trait Resolver: Debug + Send + Sync + 'static {
    /// Every address of the name `host`. A lookup that continues after the future was dropped keeps
    /// `permit` until it ends.
    ///
    /// # Errors
    /// If the name has no address, or the lookup fails.
    async fn resolve(&self, host: &str, port: u16, permit: Permit) -> io::Result<Vec<SocketAddr>>;
}

/// The timeout of a lookup: as long as resolvers commonly wait for one server.
const RESOLVE_DEADLINE: Duration = Duration::from_secs(5);

/// Lookups, a bounded number at a time.
#[derive(Debug)]
pub(super) struct Lookups {
    resolver: Arc<dyn Resolver>,
    permits: Shares,
}

impl Lookups {
    pub(super) fn new(resolver: Arc<dyn Resolver>) -> Self {
        Self { resolver, permits: Shares::new(&NAME_LOOKUPS) }
    }

    /// The addresses of `host`, at least one. The timeout begins when the lookup has its permit.
    pub(super) async fn addresses(
        &self,
        tenant: &TenantName,
        host: &str,
        port: u16,
    ) -> Result<Vec<SocketAddr>, HttpRequestError> {
        let permit = self.permits.of(tenant).acquire().await;
        match timeout(RESOLVE_DEADLINE, self.resolver.resolve(host, port, permit)).await {
            Ok(Ok(addresses)) if addresses.is_empty() => {
                Err(HttpRequestError::Unresolved("it has no address".to_owned()))
            }
            Ok(Ok(addresses)) => Ok(addresses),
            Ok(Err(error)) => Err(HttpRequestError::Unresolved(error.to_string())),
            Err(_) => {
                let seconds = RESOLVE_DEADLINE.as_secs();
                Err(HttpRequestError::Unresolved(format!("no response within {seconds} s")))
            }
        }
    }
}

/// The resolver of the operating system.
#[derive(Debug, Clone, Copy)]
pub struct System;

#[async_trait]
impl Resolver for System {
    async fn resolve(&self, host: &str, port: u16, permit: Permit) -> io::Result<Vec<SocketAddr>> {
        let host = host.to_owned();
        let lookup = tokio::task::spawn_blocking(move || {
            // Until the lookup ends: it goes on when the future is dropped.
            let _permit = permit;
            (host.as_str(), port).to_socket_addrs().map(Iterator::collect)
        });
        lookup.await.map_err(io::Error::other)?
    }
}

#[cfg(test)]
mod tests;
