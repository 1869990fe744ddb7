use std::{fmt, str::FromStr};

use crate::error::Failure;

/// The name of a table for messages, with its schema where the database has schemas.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TableName {
    pub(crate) schema: Option<String>,
    pub(crate) name: String,
}

impl TableName {
    /// The name as SQL, quoted: upper and lower case are kept.
    pub(crate) fn quoted(&self) -> String {
        let quote = |name: &str| format!("\"{}\"", name.replace('"', "\"\""));
        match &self.schema {
            Some(schema) => format!("{}.{}", quote(schema), quote(&self.name)),
            None => quote(&self.name),
        }
    }

    /// The failure for a table that is there and does not take messages.
    pub(super) fn unfit(&self, misfit: &str) -> Failure {
        Failure::stopped(format!("messages do not fit into the table {self}: {misfit}")).advice(
            "name another table with --into (it is made), or give this one the columns that \
             docs/command-line.md describes",
        )
    }
}

impl FromStr for TableName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (schema, name) = match text.split_once('.') {
            Some((schema, name)) => (Some(schema), name),
            None => (None, text),
        };
        for part in schema.into_iter().chain([name]) {
            let refuse = |reason: &str| Err(format!("the table name {text:?} {reason}"));
            if part.is_empty() {
                return refuse("has an empty part");
            }
            if part.contains(['\0', '.']) {
                return refuse("is not TABLE or SCHEMA.TABLE");
            }
            let lower = part.to_ascii_lowercase();
            if let Some(ours) =
                ["tower_inbox", "sqlite_"].into_iter().find(|ours| lower.starts_with(ours))
            {
                return refuse(&format!("begins with {ours}, which is not for messages"));
            }
        }
        Ok(Self { schema: schema.map(str::to_owned), name: name.to_owned() })
    }
}

impl fmt::Display for TableName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(schema) = &self.schema {
            write!(f, "{schema}.")?;
        }
        f.write_str(&self.name)
    }
}

/// A column that was found in a table.
pub(super) struct Column {
    pub(super) name: String,
    /// In lower case.
    pub(super) kind: String,
    /// Whether an insert may leave it out.
    pub(super) fills_itself: bool,
}

/// Says what keeps messages from being inserted into a table with these columns.
pub(super) fn misfit(found: &[Column], wanted: &[(&str, &str)]) -> Option<String> {
    for (name, kind) in wanted {
        match found.iter().find(|column| column.name == *name) {
            None => return Some(format!("it has no column {name} of type {kind}")),
            Some(column) if column.kind != *kind => {
                return Some(format!("its column {name} is {}, not {kind}", column.kind));
            }
            Some(_) => {}
        }
    }
    found
        .iter()
        .find(|column| !column.fills_itself && !wanted.iter().any(|(name, _)| *name == column.name))
        .map(|column| format!("its column {} needs a value that messages lack", column.name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_quoted() {
        let quoted = |text: &str| text.parse::<TableName>().unwrap().quoted();
        assert_eq!(quoted("messages"), r#""messages""#);
        assert_eq!(quoted("shop.Orders"), r#""shop"."Orders""#);
        assert_eq!(quoted(r#"x"; drop table y; --"#), r#""x""; drop table y; --""#);
    }

    #[test]
    fn names_of_ours_and_no_names_are_refused() {
        for text in [
            "",
            ".",
            "a.",
            ".a",
            "a.b.c",
            "a\0",
            "tower_inbox_inbox",
            "Tower_Inbox_mine",
            "tower_inbox.inbox",
            "sqlite_schema",
        ] {
            assert!(text.parse::<TableName>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn another_shape_is_described() {
        let column = |name: &str, kind: &str, fills_itself| Column {
            name: name.into(),
            kind: kind.into(),
            fills_itself,
        };
        let wanted = [("inbox_key", "uuid"), ("message", "json")];
        let good = || vec![column("inbox_key", "uuid", false), column("message", "json", false)];
        assert_eq!(misfit(&good(), &wanted), None);
        assert_eq!(misfit(&good()[..1], &wanted).unwrap(), "it has no column message of type json");
        let mut more = good();
        more.push(column("seen_at", "date", true));
        assert_eq!(misfit(&more, &wanted), None);
        more.push(column("amount", "int8", false));
        assert!(misfit(&more, &wanted).unwrap().contains("amount needs a value"));
        more[0].kind = "text".into();
        assert_eq!(misfit(&more, &wanted).unwrap(), "its column inbox_key is text, not uuid");
    }
}
