//! Error numbers; they are the same in both previews.

/// The result of a host function: an error number, or a trap.
pub(super) type Errno = wasmtime::Result<i32>;

pub(super) const SUCCESS: i32 = 0;
pub(super) const BADF: i32 = 8;
pub(super) const FAULT: i32 = 21;
pub(super) const INVAL: i32 = 28;
pub(super) const NAMETOOLONG: i32 = 37;
pub(super) const NOENT: i32 = 44;
pub(super) const NOTSOCK: i32 = 57;
pub(super) const ROFS: i32 = 69;
pub(super) const SPIPE: i32 = 70;
