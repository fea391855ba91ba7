//! The functions of a file: their lengths, and what they take. Unit tests are functions too; functions in the
//! text of macros are not seen.
//!
//! Clippy has such lints, but counts `self` as a parameter and knows nothing of tuples.

use syn::visit::{self, Visit};
use syn::{
    Block, FnArg, ImplItemFn, ItemFn, ItemImpl, ItemTrait, Pat, PatType, Signature, TraitItemFn,
    Type,
};

/// The maximum number of lines from `fn` to the closing brace. Blank lines and lines of comments do not
/// count.
const LINES: usize = 40;

/// The maximum number of parameters in addition to `self`.
const PARAMETERS: usize = 4;

/// What is wrong with the functions in the text of a file.
pub(super) fn faults(text: &str) -> anyhow::Result<Vec<String>> {
    let mut functions = Functions { text, is_of_trait: false, faults: vec![] };
    functions.visit_file(&syn::parse_file(text)?);
    Ok(functions.faults)
}

struct Functions<'a> {
    text: &'a str,
    /// Whether the functions are in an implementation of a trait, which prescribes their parameters.
    is_of_trait: bool,
    faults: Vec<String>,
}

impl Functions<'_> {
    fn check(&mut self, signature: &Signature, body: Option<&Block>) {
        let name = &signature.ident;
        if let Some(lines) = body.map(|body| self.lines(signature, body))
            && lines > LINES
        {
            self.faults.push(format!("`{name}` has {lines} lines, the maximum is {LINES}"));
        }
        if self.is_of_trait {
            return;
        }
        let parameters: Vec<&PatType> = signature.inputs.iter().filter_map(typed).collect();
        let count = parameters.len();
        if count > PARAMETERS {
            self.faults
                .push(format!("`{name}` takes {count} parameters, the maximum is {PARAMETERS}"));
        }
        if parameters.into_iter().any(takes_tuple) {
            self.faults.push(format!("`{name}` takes a tuple: use parameters or a struct"));
        }
    }

    fn lines(&self, signature: &Signature, body: &Block) -> usize {
        let first = signature.fn_token.span.start().line;
        let last = body.brace_token.span.close().end().line;
        let lines = self.text.lines().skip(first - 1).take(last - first + 1).map(str::trim_start);
        lines.filter(|line| !line.is_empty() && !line.starts_with("//")).count()
    }

    /// Visits functions of a trait's implementation, or others.
    fn within(&mut self, is_of_trait: bool, visit: impl FnOnce(&mut Self)) {
        let before = std::mem::replace(&mut self.is_of_trait, is_of_trait);
        visit(self);
        self.is_of_trait = before;
    }
}

/// A parameter other than `self`.
fn typed(parameter: &FnArg) -> Option<&PatType> {
    match parameter {
        FnArg::Typed(parameter) => Some(parameter),
        _ => None,
    }
}

/// Whether its type or its pattern is a tuple: a pattern shows one behind the name of a type.
fn takes_tuple(parameter: &PatType) -> bool {
    matches!(*parameter.pat, Pat::Tuple(_)) || is_tuple(&parameter.ty)
}

/// Whether it is a tuple of several values, or a reference to one.
fn is_tuple(parameter: &Type) -> bool {
    match parameter {
        Type::Reference(reference) => is_tuple(&reference.elem),
        Type::Tuple(tuple) => tuple.elems.len() > 1,
        _ => false,
    }
}

impl Visit<'_> for Functions<'_> {
    fn visit_item_impl(&mut self, item: &ItemImpl) {
        self.within(item.trait_.is_some(), |functions| visit::visit_item_impl(functions, item));
    }

    fn visit_item_trait(&mut self, item: &ItemTrait) {
        self.within(false, |functions| visit::visit_item_trait(functions, item));
    }

    fn visit_item_fn(&mut self, item: &ItemFn) {
        self.within(false, |functions| {
            functions.check(&item.sig, Some(&item.block));
            visit::visit_item_fn(functions, item);
        });
    }

    fn visit_impl_item_fn(&mut self, item: &ImplItemFn) {
        self.check(&item.sig, Some(&item.block));
        visit::visit_impl_item_fn(self, item);
    }

    fn visit_trait_item_fn(&mut self, item: &TraitItemFn) {
        self.check(&item.sig, item.default.as_ref());
        visit::visit_trait_item_fn(self, item);
    }
}
