use proc_macro2::{Span, TokenStream};
use quote::{format_ident, quote, quote_spanned};
use syn::{Fields, Ident, Member, Path};

use super::{encode_field, encode_value, start};
use crate::{
    check::Arm,
    read::{Choice, declared, name},
};

/// The kind of each variant.
pub(crate) fn kinds(arms: &[Arm<'_>]) -> TokenStream {
    let arms = arms.iter().map(|Arm { ident, kind, .. }| quote!(Self::#ident { .. } => #kind,));
    quote!(match self { #(#arms)* })
}

/// The fields that each variant chose.
pub(crate) fn of_variants(krate: &Path, arms: &[Arm<'_>]) -> TokenStream {
    let arms = arms.iter().map(|arm| {
        let Arm { ident, fields, choices, .. } = arm;
        let members = used(fields, choices);
        let bound = members.iter().map(bound);
        let choices = choices.iter().map(|choice| encode(krate, &members, choice));
        quote!(Self::#ident { #(#members: #bound,)* .. } => { #(#choices)* })
    });
    quote!(match self { #(#arms)* })
}

fn encode(krate: &Path, members: &[Member], choice: &Choice) -> TokenStream {
    match choice {
        Choice::Path(path) => {
            let (start, bound, rest) = (start(path), bound(&path.first), &path.rest);
            let field = if rest.is_empty() {
                quote!(#start)
            } else {
                quote_spanned!(start.span()=> &#start #(.#rest)*)
            };
            encode_field(krate, &start, &quote!(#bound), &field)
        }
        Choice::Calculated { name, value } => {
            let bindings = members.iter().map(|member| {
                let (visible, bound) = (visible(member), bound(member));
                // Not every expression uses every field. A discarded name is not an unused one, and
                // needs no `allow`, which would be an error below a `forbid`.
                let allow = (!is_snake_case(&visible)).then(|| quote!(#[allow(non_snake_case)]));
                quote!(#allow let #visible = #bound; let _ = #visible;)
            });
            let encoding = encode_value(krate, name, value);
            quote!({ #(#bindings)* #encoding })
        }
    }
}

/// The fields to bind: all of them for an expression, which may use any.
fn used(fields: &Fields, choices: &[Choice]) -> Vec<Member> {
    let is_used = |member: &Member| {
        choices.iter().any(|choice| match choice {
            Choice::Path(path) => name(&path.first) == name(member),
            Choice::Calculated { .. } => true,
        })
    };
    let members = fields.iter().enumerate().map(|(index, field)| declared(index, field));
    members.filter(is_used).collect()
}

/// The variable a field is bound to, out of reach of the user's expressions.
fn bound(member: &Member) -> Ident {
    format_ident!("__field_{}", name(member), span = Span::mixed_site())
}

/// The name under which an expression finds the field.
fn visible(member: &Member) -> Ident {
    match member {
        Member::Named(ident) => ident.clone(),
        Member::Unnamed(index) => format_ident!("_{}", index.index, span = Span::call_site()),
    }
}

/// Whether the compiler has nothing to say about a variable of this name.
fn is_snake_case(ident: &Ident) -> bool {
    let text = ident.to_string();
    !text.contains(char::is_uppercase) && !text.trim_matches('_').contains("__")
}
