//! The attribute of `jobwright-guest`, which re-exports it: use it from there.
//!
//! It decides as little as it can: what a job may take and return is for traits to say, whose
//! errors the compiler explains better than a macro does.

mod expand;

use proc_macro::TokenStream;

/// Makes a program of a function: the job that it does is the plugin.
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
/// What it cannot be used on is said at the place where it is wrong:
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
