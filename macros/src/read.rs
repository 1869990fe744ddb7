mod attributes;
mod choice;
mod options;
mod path;

use syn::{Data, DeriveInput, Fields, Ident, Token};

use crate::errors::Errors;

pub(crate) use attributes::Attributes;
pub(crate) use choice::Choice;
pub(crate) use path::{FieldPath, declared, name};

/// The input and what its attributes say, not yet held against its fields.
pub(crate) struct Item<'a> {
    pub(crate) input: &'a DeriveInput,
    pub(crate) attributes: Attributes<'a>,
    pub(crate) shape: Shape<'a>,
}

/// What the derive sits on.
pub(crate) enum Shape<'a> {
    Struct(&'a Fields),
    Enum(Vec<Variant<'a>>),
    Union(Token![union]),
}

/// One variant and what its own attributes say.
pub(crate) struct Variant<'a> {
    pub(crate) ident: &'a Ident,
    pub(crate) fields: &'a Fields,
    pub(crate) attributes: Attributes<'a>,
}

/// Reads every attribute of the derive.
pub(crate) fn item<'a>(input: &'a DeriveInput, errors: &mut Errors) -> Item<'a> {
    let mut attributes = Attributes::read(&input.attrs, errors);
    let shape = match &input.data {
        Data::Struct(data) => {
            attributes.misplaced(&data.fields, "struct", errors);
            Shape::Struct(&data.fields)
        }
        Data::Enum(data) => Shape::Enum(
            data.variants.iter().map(|variant| self::variant(variant, errors)).collect(),
        ),
        Data::Union(data) => Shape::Union(data.union_token),
    };
    Item { input, attributes, shape }
}

fn variant<'a>(variant: &'a syn::Variant, errors: &mut Errors) -> Variant<'a> {
    let mut attributes = Attributes::read(&variant.attrs, errors);
    attributes.misplaced(&variant.fields, "variant", errors);
    Variant { ident: &variant.ident, fields: &variant.fields, attributes }
}
