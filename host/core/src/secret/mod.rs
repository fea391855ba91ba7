//! Secrets. The host adds them to the requests of a guest, which has only a
//! [placeholder](crate::grant::SecretName::placeholder).
//!
//! | module | owns |
//! |---|---|
//! | [`value`], [`bound`] | the value of a secret, and a secret with its origins |
//! | [`store`] | the trait of the store of secrets |
//! | [`placing`] | where a placeholder is replaced, and where that is refused |
//! | [`masking`] | finding and covering secrets in a response |
//! | [`writing`], [`names`], [`zeros`], [`radix`], [`numbers`], [`dumps`] | the encodings in which they are found |
//! | [`left`] | input from which parts were removed, with the position of each byte |
//! | [`tenant_secrets`] | the secrets of a tenant, current and retired |
//! | [`effort`] | how many steps a search may take |
//!
//! Invariant: nothing here shows a value. [`SecretValue`] can be neither printed nor serialized;
//! only [`SecretValue::reveal`] returns its text.

pub mod bound;
mod dumps;
mod effort;
mod left;
pub mod masking;
mod names;
mod numbers;
pub mod placing;
mod radix;
pub mod store;
pub mod tenant_secrets;
pub mod value;
mod writing;
mod zeros;

pub use self::bound::{MAX_ORIGINS, MAX_RETIRED, MAX_SECRETS, Secret, SecretError};
pub use self::masking::Mask;
pub use self::placing::{Misplaced, Secrets, place};
pub use self::store::SecretStore;
pub use self::tenant_secrets::TenantSecrets;
pub use self::value::{InvalidValue, MAX_VALUE_BYTES, MIN_VALUE_BYTES, SecretValue};

#[cfg(test)]
mod tests;
