//! The derive of `tower-inbox`.
//!
//! Use it from there, as `tower_inbox::Dedup` (feature `derive`, on by default): the code it writes
//! names that crate, and the two are released together.

mod check;
mod errors;
mod expand;
mod read;

use proc_macro::TokenStream;
use quote::quote;
use syn::{DeriveInput, parse_macro_input};

use crate::errors::Errors;

/// Implements the trait `Dedup` from the fields which make it the same message again.
///
/// ```
/// use tower_inbox::Dedup;
///
/// #[derive(Dedup)]
/// #[dedup_by(order_id, customer.email, day = self.placed_at / 86_400)]
/// struct OrderPlaced {
///     order_id: i64,
///     customer: Customer,
///     placed_at: i64,
///     amount: i64,
/// }
///
/// struct Customer {
///     email: String,
/// }
/// ```
///
/// Two `OrderPlaced` with the same order, address and day are the same message; the amount does not
/// matter. Nothing is chosen by default: no attribute, or an empty one, is an error.
///
/// The fields are read by reference, in the written order. Nothing is cloned, and nothing is called
/// but `KeyField::encode` and the expressions in the attribute.
///
/// # Choosing fields
///
/// `#[dedup_by(...)]` stands above a struct or a variant and lists, separated by commas,
///
/// - a field: `order_id`, in a tuple struct its index: `0`;
/// - a path into a field: `customer.email`, `0.id`, `lines.0`, as deep as needed;
/// - a calculated value, which has a name: `day = self.placed_at / 86_400`. Any expression will do
///   that has a value which is a `KeyField`. It is only borrowed: `name = self.name` moves nothing.
///
/// What is chosen has to be a `KeyField`: booleans, integers, text, and options, lists and maps of
/// those. Floats are refused, because equal amounts need not be equal floats.
///
/// # Enums
///
/// Each variant chooses for itself. In its expressions, named fields are variables, unnamed ones are
/// `_0`, `_1` and so on, all of them references; `self` is the whole message. A variant with
/// `#[dedup(skip)]` has no key: such messages go where the layer's `without_key` sends them.
///
/// ```
/// # use tower_inbox::Dedup;
/// #[derive(Dedup)]
/// enum OrderEvent {
///     #[dedup_by(order_id, day = placed_at / 86_400)]
///     Placed { order_id: i64, placed_at: i64 },
///     #[dedup_by(0, reason = _1.to_lowercase())]
///     Cancelled(i64, String),
///     #[dedup(skip)]
///     Heartbeat,
/// }
/// ```
///
/// Or the enum chooses for all its variants, by calculated values only:
///
/// ```
/// # use tower_inbox::Dedup;
/// #[derive(Dedup)]
/// #[dedup_by(id = self.id())]
/// enum Payment {
///     Card { id: u64 },
///     Transfer(u64),
/// }
///
/// impl Payment {
///     fn id(&self) -> u64 {
///         match self {
///             Self::Card { id } | Self::Transfer(id) => *id,
///         }
///     }
/// }
/// ```
///
/// The variant is part of the kind, so that equal fields of two variants are two keys. Variants that
/// are pinned to one kind share their keys.
///
/// # Options
///
/// | attribute | where | does |
/// | --- | --- | --- |
/// | `#[dedup(kind = "order")]` | struct | sets the kind; default: the bare name of the type |
/// | | enum | sets the first part of `order::Placed`; default: the bare name of the type |
/// | | variant | sets the whole kind; default: `OrderEvent::Placed` |
/// | `#[dedup(skip)]` | variant | leaves the variant without a key; default: it must choose |
/// | `#[dedup(crate = "other::path")]` | struct, enum | where generated code finds the library; default: `::tower_inbox` |
///
/// # What changes keys
///
/// A changed key does not recognise what was handled under the old one, so that for one window
/// duplicates are handled again.
///
/// - *Renaming a field*, or a calculated value, changes nothing: names are not encoded.
/// - *Reordering* the entries of `#[dedup_by(...)]`, adding or removing one makes other keys. The
///   order of the fields in the struct does not matter.
/// - *Renaming the type or a variant* makes other keys, unless the kind is pinned. Pin the old name
///   in the same change: `#[dedup(kind = "OrderPlaced")]`.
/// - *An expression* is part of the key like a field. It must give the same value in every process
///   and every release: no clock, no random number, nothing from the environment.
///
/// # Types that share a kind
///
/// The kind is the bare name. Two types of one name in different modules share it until one is
/// pinned. So do all `Envelope<T>`, pinned or not: where bodies of several types go to one consumer,
/// add what tells them apart, as in `body = self.body.kind()`.
///
/// # All fields none
///
/// An option that is `None` counts as a value next to others. But if every chosen field is `None`,
/// there is nothing to recognise the message by, and it has no key, as if it were skipped.
///
/// A path cannot go through an `Option`. Calculate the value instead:
/// `email = self.customer.as_ref().map(|customer| &customer.email)`.
///
/// # Generics
///
/// Lifetimes, constants and type parameters are carried over. A chosen field whose type mentions a
/// type parameter adds the bound that its type is a `KeyField`. For paths and calculated values the
/// type is not known here; write what they need into the `where` clause of the type:
/// `T: tower_inbox::key::KeyField`.
#[proc_macro_derive(Dedup, attributes(dedup_by, dedup))]
pub fn derive_dedup(input: TokenStream) -> TokenStream {
    derive(&parse_macro_input!(input as DeriveInput)).into()
}

fn derive(input: &DeriveInput) -> proc_macro2::TokenStream {
    let mut errors = Errors::default();
    let item = read::item(input, &mut errors);
    let message = check::message(&item, &mut errors);
    match errors.into_inner() {
        None => expand::implementation(&message),
        Some(error) => {
            let error = error.into_compile_error();
            let stub = expand::stub(&message);
            quote!(#error #stub)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whatever is written between the parentheses, there is exactly one implementation, and it is
    /// there even if there is an error.
    #[test]
    fn any_three_tokens_give_one_implementation() {
        let tokens = [
            "", "a", "0", "0.1", ".", ",", "=", "self", "\"a.b\"", "?", "_", "fn", "r#fn", "kind",
            "crate", "skip",
        ];
        for (first, second, third) in triples(&tokens) {
            let soup = format!("{first} {second} {third}");
            for input in [
                format!("#[dedup_by({soup})] struct M {{ a: u8 }}"),
                format!("enum M {{ #[dedup_by({soup})] A(u8) }}"),
                format!("#[dedup_by(a)] #[dedup({soup})] struct M {{ a: u8 }}"),
            ] {
                let output = derive(&syn::parse_str(&input).unwrap());
                let output: syn::File = syn::parse2(output)
                    .unwrap_or_else(|error| panic!("{input} gives no code: {error}"));
                let impls = output.items.iter().filter(|item| matches!(item, syn::Item::Impl(_)));
                assert_eq!(impls.count(), 1, "{input}");
            }
        }
    }

    fn triples<'a>(tokens: &'a [&'a str]) -> impl Iterator<Item = (&'a str, &'a str, &'a str)> {
        tokens.iter().flat_map(move |first| {
            tokens
                .iter()
                .flat_map(move |second| tokens.iter().map(move |third| (*first, *second, *third)))
        })
    }
}
