use proc_macro2::{Delimiter, TokenTree};
use quote::ToTokens;
use syn::{
    Error, Expr, Ident, Lit, Member, Result, Token,
    parse::{ParseStream, discouraged::Speculative},
};

use super::FieldPath;
use crate::errors::Errors;

/// One entry of `#[dedup_by(...)]`.
pub(crate) enum Choice {
    /// `order_id`, `customer.email`, `0`, `1.id`
    Path(FieldPath),
    /// `day = self.placed_at.date()`
    Calculated { name: Ident, value: Expr },
}

/// Reads the entries up to the end of the attribute; a broken one does not hide the next.
pub(crate) fn choices(input: ParseStream<'_>, errors: &mut Errors) -> Vec<Choice> {
    let mut choices = Vec::new();
    while !input.is_empty() {
        match choice(input) {
            Ok(choice) => choices.push(choice),
            Err(error) => {
                errors.push(error);
                skip_to_comma(input);
            }
        }
        // Either the end or a comma, for the entry read up to there.
        let _ = input.parse::<Option<Token![,]>>();
    }
    choices
}

fn choice(input: ParseStream<'_>) -> Result<Choice> {
    if input.peek(Token![=]) {
        return Err(input.error(format!("there is no name before `=`; {A_CALCULATED_VALUE}")));
    }
    let ahead = input.fork();
    if let Ok(path) = FieldPath::parse(&ahead) {
        if ends(&ahead) && !is_self(&path.first) {
            input.advance_to(&ahead);
            return Ok(Choice::Path(path));
        }
        if ahead.peek(Token![=]) && !ahead.peek(Token![==]) && !ahead.peek(Token![=>]) {
            input.advance_to(&ahead);
            return calculated(&path, input);
        }
    }
    Err(neither(input))
}

fn calculated(path: &FieldPath, input: ParseStream<'_>) -> Result<Choice> {
    let equals: Token![=] = input.parse()?;
    let name = match path.single() {
        Some(Member::Named(name)) if name != "self" => name.clone(),
        _ => {
            let message =
                format!("the name of a calculated value is one word; {A_CALCULATED_VALUE}");
            return Err(Error::new_spanned(path, message));
        }
    };
    if ends(input) {
        let message = format!("`{name}` has no value; {A_CALCULATED_VALUE}");
        return Err(Error::new_spanned(equals, message));
    }
    let value: Expr = input.parse()?;
    if !ends(input) {
        return Err(input.error("expected a `,` after this value"));
    }
    Ok(Choice::Calculated { name, value })
}

/// Says what is wrong with an entry that is neither a path nor a calculated value.
fn neither(input: ParseStream<'_>) -> Error {
    let ahead = input.fork();
    let Ok(value) = ahead.parse::<Expr>() else {
        return input.error(format!("expected a field; {A_CHOICE}"));
    };
    if !ends(&ahead) {
        let message = "expected a `,` between two fields, or a `=` between the name of a \
                       calculated value and the value";
        return ahead.error(message);
    }
    let message = if let Some(path) = FieldPath::below_self(&value) {
        format!("fields are written without `self.`: `{path}`")
    } else if let Expr::Lit(literal) = &value {
        match &literal.lit {
            Lit::Str(text) if text.parse_with(FieldPath::parse).is_ok() => {
                format!("fields are written without quotes: `{}`", text.value())
            }
            _ => format!("expected a field; {A_CHOICE}"),
        }
    } else if matches!(value, Expr::Path(_) | Expr::Infer(_)) {
        format!("expected a field; {A_CHOICE}")
    } else if value.to_token_stream().into_iter().any(is_question_mark) {
        "a path cannot go through an `Option`; calculate the value: \
         `email = self.customer.as_ref().map(|customer| &customer.email)`"
            .to_owned()
    } else {
        format!("a calculated value needs a name; {A_CALCULATED_VALUE}")
    };
    Error::new_spanned(value, message)
}

fn is_self(member: &Member) -> bool {
    matches!(member, Member::Named(ident) if ident == "self")
}

fn is_question_mark(token: TokenTree) -> bool {
    match token {
        TokenTree::Punct(punct) => punct.as_char() == '?',
        TokenTree::Group(group) if group.delimiter() == Delimiter::None => {
            group.stream().into_iter().any(is_question_mark)
        }
        _ => false,
    }
}

fn ends(input: ParseStream<'_>) -> bool {
    input.is_empty() || input.peek(Token![,])
}

fn skip_to_comma(input: ParseStream<'_>) {
    while !ends(input) && input.parse::<TokenTree>().is_ok() {}
}

const A_CALCULATED_VALUE: &str = "write `day = self.placed_at.date()`";
const A_CHOICE: &str = "write `order_id`, `customer.email`, `0`, or `day = self.placed_at.date()`";
