use syn::{Attribute, Fields, Meta, parse::ParseStream};

use super::{Choice, choice, declared, name, options::Options};
use crate::errors::Errors;

/// The attributes of one struct, enum or variant.
#[derive(Default)]
pub(crate) struct Attributes<'a> {
    pub(crate) chosen: Option<Chosen<'a>>,
    pub(crate) options: Options,
}

/// One `#[dedup_by(...)]`.
pub(crate) struct Chosen<'a> {
    pub(crate) attribute: &'a Attribute,
    pub(crate) choices: Vec<Choice>,
}

impl<'a> Attributes<'a> {
    /// Reads what the attributes say, each on its own.
    pub(super) fn read(attributes: &'a [Attribute], errors: &mut Errors) -> Self {
        let mut read = Self::default();
        for attribute in attributes {
            if attribute.path().is_ident("dedup") {
                read.options.read(attribute, errors);
            } else if attribute.path().is_ident("dedup_by") {
                let chosen = chosen(attribute, errors);
                match &mut read.chosen {
                    Some(_) => errors.at(
                        attribute,
                        "a second `dedup_by`; the order of the fields is part of the key, so write \
                         them all in one: `#[dedup_by(order_id, email)]`",
                    ),
                    none => *none = Some(chosen),
                }
            }
        }
        read
    }

    /// The entries of `#[dedup_by(...)]`; none if there is no such attribute.
    pub(crate) fn choices(&self) -> &[Choice] {
        self.chosen.as_ref().map_or(&[], |chosen| &chosen.choices)
    }

    /// Refuses attributes on fields. A misplaced choice is a choice, not a missing one as well.
    pub(super) fn misplaced(&mut self, fields: &'a Fields, place: &str, errors: &mut Errors) {
        for (index, field) in fields.iter().enumerate() {
            for attribute in &field.attrs {
                if attribute.path().is_ident("dedup_by") {
                    let name = name(&declared(index, field));
                    errors.at(
                        attribute,
                        format!("fields are chosen above the {place}: `#[dedup_by({name})]`"),
                    );
                    self.chosen.get_or_insert(Chosen { attribute, choices: Vec::new() });
                } else if attribute.path().is_ident("dedup") {
                    errors.at(attribute, format!("`dedup` goes above the {place}, not on a field"));
                }
            }
        }
    }
}

fn chosen<'a>(attribute: &'a Attribute, errors: &mut Errors) -> Chosen<'a> {
    let mut choices = Vec::new();
    match &attribute.meta {
        Meta::List(list) if list.tokens.is_empty() => errors.at(
            attribute,
            "nothing is chosen; name the fields which make it the same message again: \
             `#[dedup_by(order_id)]`",
        ),
        Meta::List(list) => {
            let read = list.parse_args_with(|input: ParseStream<'_>| {
                choices = choice::choices(input, errors);
                Ok(())
            });
            if let Err(error) = read {
                errors.push(error);
            }
        }
        _ => errors.at(attribute, "fields are chosen in parentheses: `#[dedup_by(order_id)]`"),
    }
    Chosen { attribute, choices }
}
