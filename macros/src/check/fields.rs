use proc_macro2::{TokenStream, TokenTree};
use quote::ToTokens;
use syn::{Field, Fields, GenericArgument, Generics, Member, PathArguments, Type};

use super::nearest::nearest;
use crate::{
    errors::Errors,
    read::{Choice, FieldPath, declared, name},
};

/// A struct or a variant: the name it goes by in messages, and its fields.
pub(crate) struct Owner<'a> {
    pub(crate) name: String,
    pub(crate) fields: &'a Fields,
}

impl<'a> Owner<'a> {
    /// Holds the choices against the fields, and returns the types that need a bound.
    pub(crate) fn check(
        &self,
        choices: &[Choice],
        generics: &Generics,
        errors: &mut Errors,
    ) -> Vec<&'a Type> {
        let mut bounds = Vec::new();
        for choice in choices {
            let Choice::Path(path) = choice else { continue };
            let Some(field) = self.find(&path.first) else {
                self.unknown(path, errors);
                continue;
            };
            if path.single().is_some() {
                if let Some(float) = float(&field.ty) {
                    errors.at(path, float_message(path, float));
                } else if mentions_parameter(&field.ty, generics) {
                    bounds.push(&field.ty);
                }
            }
        }
        bounds
    }

    /// What to say above a struct or variant where nothing is chosen.
    pub(crate) fn unchosen(&self, place: &str) -> String {
        let write = match (self.names().first(), place) {
            (Some(first), "variant") => {
                format!("`#[dedup_by({first})]`, or `#[dedup(skip)]` if it needs no key")
            }
            (Some(first), _) => format!("`#[dedup_by({first})]`"),
            (None, "variant") => "`#[dedup(skip)]`, for it has no fields".to_owned(),
            (None, _) => {
                "a calculated value, for it has no fields: `#[dedup_by(host = ...)]`".to_owned()
            }
        };
        format!(
            "`{}` does not say which fields make it the same message again; write above the \
             {place} {write}",
            self.name
        )
    }

    fn find(&self, member: &Member) -> Option<&'a Field> {
        self.fields
            .iter()
            .enumerate()
            .find(|(index, field)| name(&declared(*index, field)) == name(member))
            .map(|(_, field)| field)
    }

    fn names(&self) -> Vec<String> {
        let fields = self.fields.iter().enumerate();
        fields.map(|(index, field)| name(&declared(index, field))).collect()
    }

    fn unknown(&self, path: &FieldPath, errors: &mut Errors) {
        let written = name(&path.first);
        let names = self.names();
        let shown: Vec<_> = names.iter().take(SHOWN).map(|name| format!("`{name}`")).collect();
        let fields = match names.len().checked_sub(SHOWN) {
            _ if names.is_empty() => "no fields".to_owned(),
            None | Some(0) => shown.join(", "),
            Some(more) => format!("{} and {more} more", shown.join(", ")),
        };
        let hint = nearest(&written, names.iter().map(String::as_str))
            .map_or_else(String::new, |near| format!("; did you mean `{near}`?"));
        let message = format!("no field `{written}` on `{}`, which has {fields}{hint}", self.name);
        errors.at(&path.first, message);
    }
}

/// Refuses two entries of the same name: each would be in the key once more, to no effect.
pub(crate) fn check_names(choices: &[Choice], errors: &mut Errors) {
    let mut seen = Vec::new();
    for choice in choices {
        let (name, tokens): (_, &dyn ToTokens) = match choice {
            Choice::Path(path) => (path.to_string(), path),
            Choice::Calculated { name: ident, .. } => (name(&Member::Named(ident.clone())), ident),
        };
        if seen.contains(&name) {
            errors.at(tokens, format!("`{name}` is chosen twice"));
        } else {
            seen.push(name);
        }
    }
}

/// The name of the float type that this is, or is an option of.
fn float(ty: &Type) -> Option<&'static str> {
    let ty = match ty {
        Type::Group(group) => return float(&group.elem),
        Type::Paren(paren) => return float(&paren.elem),
        Type::Path(path) if path.qself.is_none() => &path.path,
        _ => return None,
    };
    let last = ty.segments.last()?;
    match &last.arguments {
        PathArguments::None => ["f32", "f64"].into_iter().find(|float| ty.is_ident(float)),
        PathArguments::AngleBracketed(arguments) if last.ident == "Option" => {
            match arguments.args.first()? {
                GenericArgument::Type(inner) => float(inner),
                _ => None,
            }
        }
        _ => None,
    }
}

fn float_message(path: &FieldPath, float: &str) -> String {
    format!(
        "`{path}` is an `{float}`, and floats are refused: equal amounts need not be equal floats, \
         so a duplicate would be handled twice; use an integer amount of minor units, or text"
    )
}

/// Whether a type parameter occurs in the type, however deep.
fn mentions_parameter(ty: &Type, generics: &Generics) -> bool {
    fn search(tokens: TokenStream, generics: &Generics) -> bool {
        tokens.into_iter().any(|token| match token {
            TokenTree::Ident(ident) => generics.type_params().any(|param| param.ident == ident),
            TokenTree::Group(group) => search(group.stream(), generics),
            _ => false,
        })
    }
    search(ty.to_token_stream(), generics)
}

/// Enough to recognise the struct by; an error message is not its documentation.
const SHOWN: usize = 8;
