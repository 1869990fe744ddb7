use syn::{Fields, Ident, Type, ext::IdentExt};

use super::{
    Body,
    fields::{Owner, check_names},
};
use crate::{
    errors::Errors,
    read::{Attributes, Choice, Item, Variant, name},
};

/// One variant. A skipped one has no choices.
pub(crate) struct Arm<'a> {
    pub(crate) ident: &'a Ident,
    pub(crate) fields: &'a Fields,
    pub(crate) kind: String,
    pub(crate) skipped: bool,
    pub(crate) choices: &'a [Choice],
}

/// Checks that either the enum chooses or each of its variants does.
pub(crate) fn check<'a>(
    item: &'a Item<'a>,
    variants: &'a [Variant<'a>],
    errors: &mut Errors,
) -> (Body<'a>, Vec<&'a Type>) {
    let ident = &item.input.ident;
    if variants.is_empty() {
        errors.at(ident, "an enum without variants has no messages, so none of them has a key");
    } else if variants.iter().all(|variant| variant.attributes.options.skip.is_some()) {
        errors.at(ident, "every variant is skipped, so no message would have a key");
    }
    for variant in variants {
        if let Some((option, _)) = &variant.attributes.options.krate {
            errors.at(option, "`crate` goes above the enum, not above a variant");
        }
    }

    let arms = variants.iter().map(|variant| arm(item, variant)).collect();
    if item.attributes.chosen.is_some() {
        check_enum(item, variants, errors);
        (Body::Enum { arms, choices: item.attributes.choices() }, Vec::new())
    } else {
        (Body::Variants { arms }, check_variants(item, variants, errors))
    }
}

fn arm<'a>(item: &'a Item<'a>, variant: &'a Variant<'a>) -> Arm<'a> {
    let Variant { ident, fields, attributes } = variant;
    let kind = match (&attributes.options.kind, &item.attributes.options.kind) {
        (Some(whole), _) => whole.value(),
        (None, Some(first)) => format!("{}::{}", first.value(), ident.unraw()),
        (None, None) => full_name(item, variant),
    };
    let skipped = attributes.options.skip.is_some();
    Arm { ident, fields, kind, skipped, choices: attributes.choices() }
}

/// The enum chooses: calculated values only, and no variant chooses as well.
fn check_enum(item: &Item<'_>, variants: &[Variant<'_>], errors: &mut Errors) {
    check_names(item.attributes.choices(), errors);
    for choice in item.attributes.choices() {
        if let Choice::Path(path) = choice {
            let example = name(path.rest.last().unwrap_or(&path.first));
            errors.at(
                path,
                format!(
                    "an enum has no fields of its own; choose `{path}` above each variant, or \
                     calculate a value here: `{example} = self.{example}()`"
                ),
            );
        }
    }
    for variant in variants {
        if let Some(own) = &variant.attributes.chosen {
            errors.at(
                own.attribute,
                "the enum chooses for all its variants; remove this `dedup_by`, or that of the \
                 enum",
            );
        }
    }
}

/// The variants choose: each of them, unless it is skipped.
fn check_variants<'a>(
    item: &'a Item<'a>,
    variants: &'a [Variant<'a>],
    errors: &mut Errors,
) -> Vec<&'a Type> {
    let silent = |attributes: &Attributes<'_>| {
        attributes.chosen.is_none() && attributes.options.skip.is_none()
    };
    // One complaint instead of one for each variant.
    if !variants.is_empty() && variants.iter().all(|variant| silent(&variant.attributes)) {
        let ident = &item.input.ident;
        errors.at(
            ident,
            format!(
                "`{}` does not say which fields make it the same message again; write \
                 `#[dedup_by(...)]` above each variant, or `#[dedup_by(id = self.id())]` above \
                 the enum",
                ident.unraw()
            ),
        );
        return Vec::new();
    }

    let mut bounds = Vec::new();
    for variant in variants {
        let owner = Owner { name: full_name(item, variant), fields: variant.fields };
        let Attributes { chosen, options } = &variant.attributes;
        match chosen {
            Some(own) if options.skip.is_some() => errors.at(
                own.attribute,
                format!("`{}` is skipped and chooses fields; keep one of the two", owner.name),
            ),
            None if options.skip.is_none() => {
                errors.at(variant.ident, owner.unchosen("variant"));
            }
            _ => {}
        }
        let choices = variant.attributes.choices();
        check_names(choices, errors);
        bounds.extend(owner.check(choices, &item.input.generics, errors));
    }
    bounds
}

fn full_name(item: &Item<'_>, variant: &Variant<'_>) -> String {
    format!("{}::{}", item.input.ident.unraw(), variant.ident.unraw())
}
