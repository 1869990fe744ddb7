mod fields;
mod nearest;
mod variants;

use std::collections::HashSet;

use quote::ToTokens;
use syn::{Generics, Ident, LitStr, Path, Type, ext::IdentExt, parse_quote};

use crate::{
    errors::Errors,
    read::{Attributes, Choice, Item, Shape},
};

use fields::{Owner, check_names};

pub(crate) use variants::Arm;

/// An input in which everything fits together.
pub(crate) struct Message<'a> {
    pub(crate) krate: Path,
    pub(crate) ident: &'a Ident,
    pub(crate) generics: &'a Generics,
    /// The types that have to be key fields, because a type parameter occurs in them.
    pub(crate) bounds: Vec<&'a Type>,
    pub(crate) deprecated: bool,
    pub(crate) body: Body<'a>,
}

/// Where the kind and the fields of a message come from.
pub(crate) enum Body<'a> {
    /// A struct.
    Struct { kind: String, choices: &'a [Choice] },
    /// An enum that chooses for all its variants; calculated values only.
    Enum { arms: Vec<Arm<'a>>, choices: &'a [Choice] },
    /// An enum whose variants choose for themselves.
    Variants { arms: Vec<Arm<'a>> },
}

/// Holds what was read against the fields there are. Void if it complains.
pub(crate) fn message<'a>(item: &'a Item<'a>, errors: &mut Errors) -> Message<'a> {
    if let Some(skip) = &item.attributes.options.skip {
        errors.at(
            skip,
            "`skip` goes above a variant of an enum: messages of that variant have no key",
        );
    }
    let (body, mut bounds) = match &item.shape {
        Shape::Struct(fields) => {
            let Attributes { chosen, options } = &item.attributes;
            let ident = &item.input.ident;
            let owner = Owner { name: ident.unraw().to_string(), fields };
            if chosen.is_none() {
                errors.at(ident, owner.unchosen("struct"));
            }
            let choices = item.attributes.choices();
            check_names(choices, errors);
            let bounds = owner.check(choices, &item.input.generics, errors);
            let kind = options.kind.as_ref().map_or(owner.name, LitStr::value);
            (Body::Struct { kind, choices }, bounds)
        }
        Shape::Enum(variants) => variants::check(item, variants, errors),
        Shape::Union(token) => {
            errors.at(
                token,
                "a union does not know which of its fields is set, so none can be chosen; derive \
                 `Dedup` on a struct or an enum",
            );
            (Body::Variants { arms: Vec::new() }, Vec::new())
        }
    };
    let mut seen = HashSet::new();
    bounds.retain(|ty| seen.insert(ty.to_token_stream().to_string()));
    Message {
        krate: krate(item),
        ident: &item.input.ident,
        generics: &item.input.generics,
        bounds,
        deprecated: item
            .input
            .attrs
            .iter()
            .any(|attribute| attribute.path().is_ident("deprecated")),
        body,
    }
}

/// The path under which generated code finds the library.
fn krate(item: &Item<'_>) -> Path {
    match &item.attributes.options.krate {
        Some((_, path)) => path.clone(),
        None => parse_quote!(::tower_inbox),
    }
}
