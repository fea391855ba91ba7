//! The attribute of `jobwright-guest`, which re-exports it: use it from there.
//!
//! It checks little: traits define what a job may take and return, because the compiler explains their
//! errors better than a macro can.

mod expand;

use proc_macro::TokenStream;

/// Turns a function into a program that is a plugin.
///
/// The function takes the payload, as anything that is `FromRequest`, then `&Job`; each may be left
/// out. It returns a `Result` of anything that is `IntoResponse`, whose error converts into a
/// `JobError`. It stays an ordinary function, which tests may call. `main` is written for it, so it
/// stands in `src/main.rs`.
///
/// ```
/// use jobwright_guest::{Job, JobError};
///
/// #[jobwright_guest::job]
/// fn shout(text: String, job: &Job) -> Result<String, JobError> {
///     job.info(format_args!("{} bytes", text.len()));
///     Ok(text.to_uppercase())
/// }
/// ```
///
/// Errors are reported where they occur:
///
/// ```compile_fail
/// #[jobwright_guest::job]
/// async fn later(text: String) -> Result<String, jobwright_guest::JobError> {
///     Ok(text)
/// }
/// ```
///
/// ```compile_fail
/// struct Opaque; // no serde::Deserialize
///
/// #[jobwright_guest::job]
/// fn open(opaque: Opaque) -> Result<(), jobwright_guest::JobError> {
///     Ok(())
/// }
/// ```
#[proc_macro_attribute]
pub fn job(options: TokenStream, function: TokenStream) -> TokenStream {
    expand::job(options.into(), function.into())
        .unwrap_or_else(syn::Error::into_compile_error)
        .into()
}
