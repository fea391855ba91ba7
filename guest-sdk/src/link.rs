//! Host calls that are linked only if they are used.

use std::fmt;

/// A function that reports the value next to it to the host.
///
/// Only the constructor that needs the function refers to it. So a core module imports the host call
/// only if its code calls that constructor, and runs on any other WASI host otherwise. It is ignored in
/// comparisons.
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
