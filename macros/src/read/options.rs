use proc_macro2::TokenTree;
use syn::{
    Attribute, Error, Ident, LitStr, Meta, Path, Result, Token, ext::IdentExt, parse::ParseStream,
};

use crate::errors::Errors;

/// What `#[dedup(...)]` says on one struct, enum or variant.
#[derive(Default)]
pub(crate) struct Options {
    pub(crate) kind: Option<LitStr>,
    pub(crate) krate: Option<(Ident, Path)>,
    pub(crate) skip: Option<Ident>,
}

impl Options {
    /// Adds what one more attribute says.
    pub(crate) fn read(&mut self, attribute: &Attribute, errors: &mut Errors) {
        let Meta::List(list) = &attribute.meta else {
            return errors.at(attribute, format!("`dedup` sets an option; write {AN_OPTION}"));
        };
        let read = list.parse_args_with(|input: ParseStream<'_>| {
            while !input.is_empty() {
                if let Err(error) = self.read_one(input) {
                    errors.push(error);
                    while !input.is_empty() && !input.peek(Token![,]) {
                        input.parse::<TokenTree>()?;
                    }
                }
                input.parse::<Option<Token![,]>>()?;
            }
            Ok(())
        });
        if let Err(error) = read {
            errors.push(error);
        }
    }

    fn read_one(&mut self, input: ParseStream<'_>) -> Result<()> {
        let option = input.call(Ident::parse_any).map_err(|error| {
            Error::new(error.span(), format!("expected an option; write {AN_OPTION}"))
        })?;
        let twice = match option.to_string().as_str() {
            "kind" => self.kind.replace(text(&option, "OrderPlaced", input)?).is_some(),
            "crate" => {
                let path = text(&option, "other::path", input)?;
                let path = path.parse_with(Path::parse_mod_style).map_err(|_| {
                    Error::new(path.span(), "`crate` is the path of a crate or module")
                })?;
                self.krate.replace((option.clone(), path)).is_some()
            }
            "skip" => self.skip.replace(option.clone()).is_some(),
            _ => {
                let message = format!("`dedup` has no option `{option}`; write {AN_OPTION}");
                return Err(Error::new(option.span(), message));
            }
        };
        if twice {
            return Err(Error::new(option.span(), format!("`{option}` is set twice")));
        }
        if option == "skip" && input.peek(Token![=]) {
            return Err(input.error("`skip` has no value; write `#[dedup(skip)]`"));
        }
        if !input.is_empty() && !input.peek(Token![,]) {
            return Err(input.error(format!("expected a `,` after `{option}`")));
        }
        Ok(())
    }
}

fn text(option: &Ident, example: &str, input: ParseStream<'_>) -> Result<LitStr> {
    let complain = |span| {
        Error::new(span, format!("`{option}` is set to a text; write `{option} = \"{example}\"`"))
    };
    let equals: Token![=] = input.parse().map_err(|_| complain(option.span()))?;
    if input.is_empty() {
        return Err(complain(equals.span));
    }
    // The parser takes the token away even if it is another literal.
    let ahead = input.fork();
    ahead.parse::<LitStr>().map_err(|error| complain(error.span()))?;
    input.parse()
}

const AN_OPTION: &str = "`#[dedup(kind = \"OrderPlaced\")]`, `#[dedup(crate = \"other::path\")]`, \
                         or on a variant `#[dedup(skip)]`";
