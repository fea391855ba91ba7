//! Grants: what a plugin may reach beyond its sandbox.
//!
//! An import does not show a need: the runtimes of many languages import more than their programs call. So
//! every import is linked, and a call without a grant is denied.
//!
//! | module | owns |
//! |---|---|
//! | [`capability`] | what can be granted, and which imports ask for it |
//! | [`grants`] | what a plugin is granted |
//! | [`http`], [`origin`] | where HTTP requests may go, by name |
//! | [`address`] | which addresses such a name may have |
//! | [`secret_name`] | names of secrets and their placeholders |
//! | [`bounds`] | validation of grants |
//! | [`determinism`] | whether jobs see the same clock and random bytes at every attempt |

pub mod address;
pub mod bounds;
pub mod capability;
pub mod determinism;
pub mod grants;
pub mod http;
pub mod origin;
pub mod secret_name;

pub use self::capability::Capability;
pub use self::determinism::Determinism;
pub use self::grants::{CLOCK_PRECISION_US, Grants, KeyValueGrant};
pub use self::http::{HttpGrant, HttpLimits, InvalidMethod, Method};
pub use self::origin::{InvalidOrigin, Origin};
pub use self::secret_name::{InvalidSecretName, SecretName};

#[cfg(test)]
mod tests;
