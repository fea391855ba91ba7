//! Expands the annotated function to a program.

use proc_macro2::TokenStream;
use quote::{quote, quote_spanned};
use syn::spanned::Spanned;
use syn::{Error, FnArg, ItemFn, Result, ReturnType, Signature, Type, parse2};

const SHAPE: &str = "a job is `fn name(payload: T, job: &Job) -> Result<U, E>`; \
                     `payload` and `job` may be left out";

/// The unchanged function, and a `main` that runs it.
pub(crate) fn job(options: TokenStream, function: TokenStream) -> Result<TokenStream> {
    if !options.is_empty() {
        return Err(Error::new(options.span(), "`job` takes no options"));
    }
    let function: ItemFn =
        parse2(function).map_err(|error| Error::new(error.span(), format!("{SHAPE} ({error})")))?;
    check(&function.sig)?;
    let name = &function.sig.ident;
    let arguments = arguments(&function.sig)?;
    // The span of the output's type, so that the compiler reports errors there.
    let place = match &function.sig.output {
        ReturnType::Type(_, output) => output.span(),
        ReturnType::Default => name.span(),
    };
    let attempt = quote_spanned! {place=>
        ::jobwright_guest::IntoResponse::into_response(#name(#(#arguments),*)?)
    };
    Ok(quote! {
        #function

        fn main() -> ::std::process::ExitCode {
            ::jobwright_guest::run(|_request, _job| #attempt)
        }
    })
}

/// Refuses functions that a host cannot call.
fn check(signature: &Signature) -> Result<()> {
    let refuse = |place: &dyn Spanned, why: &str| Err(Error::new(place.span(), why));
    if signature.ident == "main" {
        return refuse(&signature.ident, "name it after what it does: `main` is written for it");
    }
    if let Some(asyncness) = &signature.asyncness {
        return refuse(asyncness, "a job is not async: block, and other jobs run meanwhile");
    }
    if !signature.generics.params.is_empty() {
        return refuse(&signature.generics, "a job is not generic: its types say what it takes");
    }
    if matches!(signature.output, ReturnType::Default) {
        return refuse(signature, "a job returns a `Result`, if only `Result<(), JobError>`");
    }
    Ok(())
}

/// The arguments of the call: a reference is the job, any other type the payload.
fn arguments(signature: &Signature) -> Result<Vec<TokenStream>> {
    let mut arguments = Vec::new();
    let mut seen = (false, false);
    for input in &signature.inputs {
        let FnArg::Typed(parameter) = input else { return Err(Error::new(input.span(), SHAPE)) };
        let ty = &*parameter.ty;
        match (ty, seen) {
            (Type::Reference(borrowed), _) if is_payload(&borrowed.elem) => {
                let why =
                    "the payload is given away: take a `String` or `Vec<u8>`, not a reference";
                return Err(Error::new(parameter.span(), why));
            }
            (Type::Reference(_), (_, false)) => {
                seen.1 = true;
                arguments.push(quote!(_job));
            }
            (Type::Reference(_), _) | (_, (true, _) | (_, true)) => {
                return Err(Error::new(parameter.span(), SHAPE));
            }
            (ty, (false, false)) => {
                seen.0 = true;
                arguments.push(quote_spanned! {ty.span()=>
                    <#ty as ::jobwright_guest::FromRequest>::from_request(_request)?
                });
            }
        }
    }
    Ok(arguments)
}

/// Whether a reference to this type is meant to be the payload.
fn is_payload(borrowed: &Type) -> bool {
    match borrowed {
        Type::Slice(_) => true,
        Type::Path(path) => {
            let last = path.path.segments.last();
            last.is_some_and(|last| last.ident == "str" || last.ident == "String")
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(function: TokenStream) -> String {
        job(TokenStream::new(), function).unwrap_err().to_string()
    }

    fn call(function: TokenStream) -> String {
        let program = job(TokenStream::new(), function).unwrap().to_string();
        program.rsplit_once("into_response").unwrap().1.replace(' ', "")
    }

    #[test]
    fn a_borrowed_payload_is_refused_with_the_types_to_use() {
        for ty in [quote!(&str), quote!(&[u8]), quote!(&std::string::String)] {
            let said = refusal(quote!(
                fn f(text: #ty) -> Result<(), JobError> {
                    Ok(())
                }
            ));
            assert!(said.contains("take a `String` or `Vec<u8>`"), "{said}");
        }
    }

    #[test]
    fn payload_and_job_may_each_be_left_out() {
        let payload = "<Text as::jobwright_guest::FromRequest>::from_request(_request)?";
        let payload = payload.replace(' ', "");
        let none = call(quote!(
            fn f() -> Result<(), JobError> {
                Ok(())
            }
        ));
        assert!(none.starts_with("(f()?)"), "{none}");
        let one = call(quote!(
            fn f(text: Text) -> Result<(), JobError> {
                Ok(())
            }
        ));
        assert!(one.starts_with(&format!("(f({payload})?)")), "{one}");
        let job = call(quote!(
            fn f(job: &Job) -> Result<(), JobError> {
                Ok(())
            }
        ));
        assert!(job.starts_with("(f(_job)?)"), "{job}");
        let both = call(quote!(
            fn f(text: Text, job: &Job) -> Result<(), JobError> {
                Ok(())
            }
        ));
        assert!(both.starts_with(&format!("(f({payload},_job)?)")), "{both}");
    }

    #[test]
    fn functions_that_are_not_jobs_are_refused_with_the_reason() {
        let generic = refusal(quote!(
            fn f<T>(x: T) -> Result<(), E> {
                Ok(())
            }
        ));
        assert!(generic.starts_with("a job is not generic"), "{generic}");
        let main = refusal(quote!(
            fn main() -> Result<(), E> {
                Ok(())
            }
        ));
        assert!(main.contains("`main` is written for it"), "{main}");
        assert!(
            refusal(quote!(
                fn f() {}
            ))
            .starts_with("a job returns a `Result`")
        );
        assert!(
            refusal(quote!(
                async fn f() -> Result<(), E> {}
            ))
            .contains("not async")
        );
        assert!(
            refusal(quote!(
                struct NoFunction;
            ))
            .starts_with(SHAPE)
        );
        for parameters in
            [quote!(a: A, b: B), quote!(a: &Job, b: B), quote!(a: &A, b: &B), quote!(self)]
        {
            assert_eq!(refusal(quote!(fn f(#parameters) -> Result<(), E> { Ok(()) })), SHAPE);
        }
    }

    #[test]
    fn options_are_refused() {
        let function = quote!(
            fn f() -> Result<(), E> {
                Ok(())
            }
        );
        assert_eq!(
            job(quote!(retries = 3), function).unwrap_err().to_string(),
            "`job` takes no options"
        );
    }
}
