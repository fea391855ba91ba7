//! An HTTP client as a submitter of jobs.

use jobwright_core::access::{Caller, Scope};
use jobwright_core::tenant::TenantName;

use super::app::App;
use crate::intake::{NotAdmitted, Submitter};

/// The caller of a request.
pub(super) struct Client<'a> {
    pub(super) app: &'a App,
    pub(super) caller: &'a Caller,
}

impl Submitter for Client<'_> {
    fn tenant(&self) -> &TenantName {
        &self.caller.tenant
    }

    fn is_administrator(&self) -> bool {
        self.caller.may(Scope::Admin)
    }

    fn still_admitted(&self) -> Result<(), NotAdmitted> {
        self.app.still_admits(self.caller, false)
    }
}
