//! The conversion of the compiler's output to the form that attempts use.

use super::super::abi::prepared::Prepared;
use super::super::machine::Machine;
use super::unready::Unready;
use crate::registry::compiled;

/// Code in the form in which attempts use it: linked in this process, or bytes for another one.
pub(in super::super) trait Ready: Sized + Send + Sync + 'static {
    /// Converts the compiler's output.
    ///
    /// # Errors
    /// If the output is found to be unusable.
    fn ready(machine: &Machine, artefact: Vec<u8>) -> Result<Self, Unready>;
}

impl Ready for Prepared {
    fn ready(machine: &Machine, artefact: Vec<u8>) -> Result<Self, Unready> {
        let compiled = compiled::code(&machine.engine, &artefact)
            .map_err(|error| Unready::unusable(format!("it does not load: {error:#}")))?;
        Ok(Self::new(machine, &compiled)?)
    }
}
