//! Decides whether a job is deterministic: by its plugin's grant, or because an administrator
//! requested it.

use jobwright_core::grant::Determinism;

use super::refused::FieldFault;

/// Whether a job is deterministic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Deterministic {
    pub(super) is: bool,
    /// Whether only the grant allows it.
    pub(super) by_grant: bool,
}

impl Deterministic {
    /// Decides by the grant and the draft. Administrators need no grant.
    ///
    /// # Errors
    /// If it is requested and not granted.
    pub(super) fn decide(
        granted: Determinism,
        by_administrator: bool,
        asked: bool,
    ) -> Result<Self, FieldFault> {
        if asked && by_administrator {
            return Ok(Self { is: true, by_grant: false });
        }
        let is = granted.decide(asked).ok_or_else(|| {
            let message = "the plugin is not granted deterministic jobs: an administrator allows \
                           them by the grant {\"deterministic\": \"optional\"}";
            FieldFault::new("deterministic", message)
        })?;
        Ok(Self { is, by_grant: is })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn administrators_need_no_grant_for_deterministic_jobs_and_others_do() {
        for (granted, by_administrator, asked, decided) in [
            (Determinism::Never, true, true, Some((true, false))),
            (Determinism::Never, true, false, Some((false, false))),
            (Determinism::Never, false, true, None),
            (Determinism::Optional, true, true, Some((true, false))),
            (Determinism::Optional, false, true, Some((true, true))),
            (Determinism::Optional, false, false, Some((false, false))),
            (Determinism::Always, true, true, Some((true, false))),
            (Determinism::Always, true, false, Some((true, true))),
            (Determinism::Always, false, true, Some((true, true))),
        ] {
            let found = Deterministic::decide(granted, by_administrator, asked).ok();
            let found = found.map(|found| (found.is, found.by_grant));
            assert_eq!(found, decided, "{granted:?} {by_administrator} {asked}");
        }
    }
}
