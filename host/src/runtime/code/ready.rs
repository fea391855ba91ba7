//! What the compiler's output becomes before attempts use it.

use super::super::abi::prepared::Prepared;
use super::super::machine::Machine;
use super::unready::Unready;
use crate::registry::compiled;

/// Code in the form in which attempts use it: linked in this process, or bytes for another one.
pub(in super::super) trait Ready: Sized + Send + Sync + 'static {
    /// Makes it from the compiler's output.
    ///
    /// # Errors
    /// If that cannot be used, as far as this finds out.
    fn ready(machine: &Machine, artefact: Vec<u8>) -> Result<Self, Unready>;
}

impl Ready for Prepared {
    fn ready(machine: &Machine, artefact: Vec<u8>) -> Result<Self, Unready> {
        let compiled = compiled::code(&machine.engine, &artefact)
            .map_err(|error| Unready::unusable(format!("it does not load: {error:#}")))?;
        Ok(Self::new(machine, &compiled)?)
    }
}
