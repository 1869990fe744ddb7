use std::collections::BTreeMap;

use serde_json::Value;

/// What is known of a store, by name; numbers as numbers.
pub(super) fn values(facts: &BTreeMap<String, String>) -> BTreeMap<String, Value> {
    facts.iter().map(|(name, value)| (name.clone(), number_or_text(value))).collect()
}

/// The same for people, a line each.
pub(super) fn lines(facts: &BTreeMap<String, Value>) -> String {
    let width = facts.keys().map(|name| name.len()).max().unwrap_or(0);
    let line = |(name, value): (&String, &Value)| {
        let name = name.replace('_', " ");
        match value {
            Value::String(text) => format!("{name:width$}  {text}\n"),
            value => format!("{name:width$}  {value}\n"),
        }
    };
    facts.iter().map(line).collect()
}

fn number_or_text(value: &str) -> Value {
    // Not the other way round: `7.0` and `007` are names of something.
    match value.parse::<u64>() {
        Ok(number) if number.to_string() == value => number.into(),
        _ => value.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_numbers_are_numbers() {
        for (value, is_number) in [("0", true), ("17", true), ("7.0", false), ("007", false)] {
            assert_eq!(number_or_text(value).is_number(), is_number, "{value}");
        }
    }
}
