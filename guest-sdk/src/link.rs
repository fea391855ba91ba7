//! A way to the host that is only linked where it is used.

use std::fmt;

/// A function that tells the host about the value beside it.
///
/// It is put there by the constructor that makes it necessary, and nothing else names it. So a core
/// module imports the function behind it only if its author calls that constructor, and runs on any
/// other WASI host if not. It is no part of what the value is.
pub(crate) struct Link<T: ?Sized>(pub(crate) fn(&T));

impl<T: ?Sized> Copy for Link<T> {}

impl<T: ?Sized> Clone for Link<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T: ?Sized> PartialEq for Link<T> {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl<T: ?Sized> Eq for Link<T> {}

impl<T: ?Sized> fmt::Debug for Link<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("_")
    }
}
