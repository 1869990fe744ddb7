use serde::Serialize;
use serde_json::{Map, Value};
use tower_inbox::{
    error::StoreError,
    inbox::store::{Cursor, Page, Paging},
};

use crate::{
    args::PageArgs,
    error::Failure,
    exit::Exit,
    output::{self, Format},
};

/// How the items of a list are printed.
pub(crate) trait Listing {
    /// What the library gives.
    type Item;
    /// One item for programs.
    type Row: Serialize;

    /// What the items are called together, as in the JSON object around them.
    const NAME: &'static str;

    fn row(item: &Self::Item) -> Self::Row;

    /// All items for people.
    fn text(items: &[Self::Item]) -> String;
}

/// Prints one page, or all: for people a table, as JSON one object, as NDJSON one line each.
pub(crate) async fn print<L: Listing, F>(
    args: &PageArgs,
    format: Format,
    fetch: impl Fn(Paging) -> F,
) -> Result<Exit, Failure>
where
    F: Future<Output = Result<Page<L::Item>, StoreError>>,
{
    let limit = args.limit.unwrap_or(50);
    if limit == 0 {
        return Err(Failure::usage("--limit 0: a page has at least one line"));
    }
    let mut paging = Paging::first(limit);
    if let Some(text) = &args.after {
        paging = paging.after(parse(text)?);
    }
    let mut items = Vec::new();
    let mut next;
    loop {
        let page = fetch(paging).await?;
        next = page.next;
        // What is printed line by line need not be kept.
        if format == Format::Ndjson {
            let lines: String = page.items.iter().map(|item| json(&L::row(item)) + "\n").collect();
            output::print(&lines)?;
        } else {
            items.extend(page.items);
        }
        match next.take_if(|_| args.all) {
            Some(cursor) => paging = Paging::first(limit).after(cursor),
            None => break,
        }
    }
    match format {
        Format::Text => output::print(&L::text(&items))?,
        Format::Json => {
            let mut object = Map::new();
            let rows = items.iter().map(|item| value(&L::row(item))).collect();
            object.insert(L::NAME.into(), Value::Array(rows));
            object.insert("next".into(), next.as_ref().map(write).into());
            output::print(&(Value::from(object).to_string() + "\n"))?;
        }
        Format::Ndjson => {}
    }
    if let Some(next) = next.filter(|_| format != Format::Json) {
        output::note(&format!("there are more: add --after {} or --all", write(&next)));
    }
    Ok(Exit::Done)
}

fn value<T: Serialize>(row: &T) -> Value {
    serde_json::to_value(row).expect("rows have text keys and finite numbers")
}

fn json<T: Serialize>(row: &T) -> String {
    value(row).to_string()
}

fn write(cursor: &Cursor) -> String {
    cursor.as_bytes().iter().map(|byte| format!("{byte:02x}")).collect()
}

fn parse(text: &str) -> Result<Cursor, Failure> {
    let byte = |at: usize| text.get(at..at + 2).and_then(|pair| u8::from_str_radix(pair, 16).ok());
    let bytes: Option<Vec<u8>> = (0..text.len()).step_by(2).map(byte).collect();
    bytes.map(Cursor::new).ok_or_else(|| {
        Failure::usage(format!("--after {text}: this is no place in a list"))
            .advice("give what the page before printed")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_read_as_it_was_written() {
        let cursor = Cursor::new(vec![0, 15, 255]);
        assert_eq!(write(&cursor), "000fff");
        assert_eq!(parse("000fff").unwrap(), cursor);
        for text in ["0", "zz", "0é", "000fff "] {
            assert!(parse(text).is_err(), "{text:?}");
        }
    }
}
