//! The modules under which guests import the two previews.

/// The module of preview 1.
pub(super) const PREVIEW1: &str = "wasi_snapshot_preview1";

/// The module of preview 0.
pub(super) const PREVIEW0: &str = "wasi_unstable";
