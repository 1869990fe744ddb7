use std::fmt;

use proc_macro2::{Span, TokenStream};
use quote::{ToTokens, TokenStreamExt};
use syn::{
    Error, Expr, Field, Ident, Index, LitFloat, LitInt, Member, Result, Token, ext::IdentExt,
    parse::ParseStream,
};

/// Where a chosen field is: a field of the message, a field of that field, and so on.
pub(crate) struct FieldPath {
    pub(crate) first: Member,
    pub(crate) rest: Vec<Member>,
}

impl FieldPath {
    /// Reads a path; a keyword is taken as a field's name, with or without `r#`.
    pub(super) fn parse(input: ParseStream<'_>) -> Result<Self> {
        let mut members = Vec::new();
        loop {
            segment(input, &mut members)?;
            if input.parse::<Option<Token![.]>>()?.is_none() {
                break;
            }
        }
        let first = members.remove(0);
        Ok(Self { first, rest: members })
    }

    /// The path behind `self.`, if the expression is one.
    pub(super) fn below_self(mut value: &Expr) -> Option<Self> {
        let mut members = Vec::new();
        while let Expr::Field(field) = value {
            members.push(field.member.clone());
            value = &field.base;
        }
        let Expr::Path(root) = value else { return None };
        let first = members.pop().filter(|_| root.path.is_ident("self"))?;
        members.reverse();
        Some(Self { first, rest: members })
    }

    /// The field of the message itself, if the path does not reach further.
    pub(crate) fn single(&self) -> Option<&Member> {
        self.rest.is_empty().then_some(&self.first)
    }
}

impl ToTokens for FieldPath {
    fn to_tokens(&self, tokens: &mut TokenStream) {
        self.first.to_tokens(tokens);
        tokens.append_all(&self.rest);
    }
}

/// As the user would write it.
impl fmt::Display for FieldPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&name(&self.first))?;
        self.rest.iter().try_for_each(|member| write!(f, ".{}", name(member)))
    }
}

/// The name of a field, the same for `type` and `r#type`.
pub(crate) fn name(member: &Member) -> String {
    match member {
        Member::Named(ident) => ident.unraw().to_string(),
        Member::Unnamed(index) => index.index.to_string(),
    }
}

/// How a declared field is reached.
pub(crate) fn declared(index: usize, field: &Field) -> Member {
    match &field.ident {
        Some(ident) => Member::Named(ident.clone()),
        None => Member::Unnamed(Index::from(index)),
    }
}

fn segment(input: ParseStream<'_>, members: &mut Vec<Member>) -> Result<()> {
    if input.peek(LitInt) {
        let literal: LitInt = input.parse()?;
        members.push(index(&literal.to_string(), literal.span())?);
    } else if input.peek(LitFloat) {
        // `0.1` is one token to the compiler, and two indices here.
        let literal: LitFloat = input.parse()?;
        for digits in literal.to_string().split('.') {
            members.push(index(digits, literal.span())?);
        }
    } else {
        let ident = input.call(Ident::parse_any)?;
        let no_field = match ident.to_string().as_str() {
            // Understood at the beginning, for the sake of the message.
            "self" => !members.is_empty(),
            "_" | "Self" | "super" | "crate" => true,
            _ => false,
        };
        if no_field {
            return Err(Error::new(ident.span(), "expected the name of a field"));
        }
        members.push(Member::Named(usable(ident)));
    }
    Ok(())
}

fn index(digits: &str, span: Span) -> Result<Member> {
    match digits.parse() {
        Ok(index) if digits.bytes().all(|digit| digit.is_ascii_digit()) => {
            Ok(Member::Unnamed(Index { index, span }))
        }
        _ => Err(Error::new(span, "expected a tuple index")),
    }
}

/// The identifier in the form in which it can stand behind a dot.
fn usable(ident: Ident) -> Ident {
    let text = ident.to_string();
    if text == "self" || text.starts_with("r#") || syn::parse_str::<Ident>(&text).is_ok() {
        ident
    } else {
        Ident::new_raw(&text, ident.span())
    }
}
