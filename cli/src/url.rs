//! URLs of databases and stores, as far as people see them.

use crate::error::Failure;

/// Hides a password, in the authority or in the query, also where the URL is malformed.
pub(crate) fn without_secrets(url: &str) -> String {
    let start = url.find("://").map_or(0, |at| at + 3);
    let mut shown = match (url[start..].find(':'), url[start..].rfind('@')) {
        (Some(colon), Some(at)) if colon < at => {
            format!("{}:***{}", &url[..start + colon], &url[start + at..])
        }
        _ => url.to_owned(),
    };
    if let Some(query) = shown.find('?') {
        let hidden: Vec<_> = shown[query + 1..]
            .split('&')
            .map(|parameter| match parameter.split_once('=') {
                Some((name, _)) if name.to_ascii_lowercase().contains("pass") => {
                    format!("{name}=***")
                }
                _ => parameter.to_owned(),
            })
            .collect();
        shown.replace_range(query + 1.., &hidden.join("&"));
    }
    shown
}

/// The URL needs what this program was built without.
pub(crate) fn feature_missing(what: &str, name: &str, feature: &str) -> Failure {
    Failure::usage(format!("{what}: this tower-inbox was built without {name}"))
        .advice(format!("install one with it: cargo install tower-inbox-cli --features {feature}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_hidden() {
        for (url, shown) in [
            ("postgres://u:secret@h:5432/d", "postgres://u:***@h:5432/d"),
            ("postgres://u:se/c?r@et@h/d", "postgres://u:***@h/d"),
            ("postgres://u@h:5432/d", "postgres://u@h:5432/d"),
            ("postgres://h/d?user=u&password=secret&a=b", "postgres://h/d?user=u&password=***&a=b"),
            ("mysql://u:secret@h/d", "mysql://u:***@h/d"),
            ("u:secret@h/d", "u:***@h/d"),
            ("sqlite://a.db", "sqlite://a.db"),
            ("redis://:secret@h:6379/1", "redis://:***@h:6379/1"),
            ("redis-cluster://u:secret@h:1,u:secret@i:2", "redis-cluster://u:***@i:2"),
        ] {
            assert_eq!(without_secrets(url), shown);
        }
    }
}
