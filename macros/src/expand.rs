mod variants;

use proc_macro2::{Span, TokenStream};
use quote::{format_ident, quote, quote_spanned};
use syn::{Expr, Ident, Path, Type, parse_quote, spanned::Spanned};

use crate::{
    check::{Body, Message},
    read::{Choice, FieldPath},
};

use variants::{kinds, of_variants};

/// Writes the implementation.
pub(crate) fn implementation(message: &Message<'_>) -> TokenStream {
    let krate = &message.krate;
    let (kind, fields) = match &message.body {
        Body::Struct { kind, choices } => (quote!(#kind), of_self(krate, choices)),
        Body::Enum { arms, choices } => {
            let fields = of_self(krate, choices);
            let skipped = arms.iter().filter(|arm| arm.skipped).map(|arm| arm.ident);
            let fields = quote!(match self { #(Self::#skipped { .. } => {})* _ => { #fields } });
            (kinds(arms), fields)
        }
        Body::Variants { arms } => (kinds(arms), of_variants(krate, arms)),
    };
    assemble(message, &message.bounds, &kind, &encoder(), &fields)
}

/// Writes an implementation whose absence the compiler would complain about as well.
pub(crate) fn stub(message: &Message<'_>) -> TokenStream {
    let unreachable = quote!(::core::unreachable!());
    assemble(message, &[], &unreachable, &format_ident!("_encoder"), &unreachable)
}

fn assemble(
    message: &Message<'_>,
    bounds: &[&Type],
    kind: &TokenStream,
    encoder: &Ident,
    fields: &TokenStream,
) -> TokenStream {
    let Message { krate, ident, generics, deprecated, .. } = message;
    let mut generics = (*generics).clone();
    if !bounds.is_empty() {
        let predicates = &mut generics.make_where_clause().predicates;
        for ty in bounds {
            predicates.push(parse_quote!(#ty: #krate::__private::KeyField));
        }
    }
    let (parameters, arguments, conditions) = generics.split_for_impl();
    // Only where it is needed, because an `allow` is an error below a `forbid`.
    let allow = deprecated.then(|| quote!(#[allow(deprecated)]));
    quote! {
        #[automatically_derived]
        #allow
        impl #parameters #krate::__private::Dedup for #ident #arguments #conditions {
            #[inline]
            fn kind(&self) -> &::core::primitive::str {
                #kind
            }

            #[inline]
            fn encode_fields(&self, #encoder: &mut #krate::__private::KeyEncoder) {
                #fields
            }
        }
    }
}

fn of_self(krate: &Path, choices: &[Choice]) -> TokenStream {
    choices
        .iter()
        .map(|choice| match choice {
            Choice::Path(path) => {
                let FieldPath { first, rest } = path;
                let start = start(path);
                let field = quote_spanned!(start.span()=> &#start.#first #(.#rest)*);
                encode_field(krate, &start, &quote!(self), &field)
            }
            Choice::Calculated { name, value } => encode_value(krate, name, value),
        })
        .collect()
}

/// A name for where a path starts, with the span of the path: the compiler underlines an expression
/// as a whole only if all its tokens come from one place.
fn start(path: &FieldPath) -> Ident {
    Ident::new("__start", path.first.span())
}

fn encode_field(
    krate: &Path,
    start: &Ident,
    from: &TokenStream,
    field: &TokenStream,
) -> TokenStream {
    let encoder = encoder();
    quote!({ let #start = #from; #krate::__private::KeyField::encode(#field, #encoder); })
}

/// Encodes a calculated value, whose name is underlined if it is no key field.
fn encode_value(krate: &Path, name: &Ident, value: &Expr) -> TokenStream {
    // Borrowed, so that `self.name` is not moved; in one statement, so that guards live until then.
    let value = quote_spanned!(name.span()=> &(#value));
    let encoder = encoder();
    quote!(#krate::__private::KeyField::encode(#value, #encoder);)
}

/// The parameter, out of reach of the user's expressions.
fn encoder() -> Ident {
    Ident::new("__encoder", Span::mixed_site())
}
