//! Times, keys and tables for people.

use std::time::SystemTime;

/// A moment as RFC 3339 in UTC, to the second.
pub(crate) fn time(moment: SystemTime) -> String {
    humantime::format_rfc3339_seconds(moment).to_string()
}

/// How long ago or ahead a moment is, in its two largest units.
pub(crate) fn from_now(moment: SystemTime) -> String {
    let now = SystemTime::now();
    match moment.duration_since(now) {
        Ok(ahead) => format!("in {}", length(ahead.as_secs())),
        Err(error) => format!("{} ago", length(error.duration().as_secs())),
    }
}

/// A length in its two largest units, without a space: `1day2h`.
pub(crate) fn length(seconds: u64) -> String {
    const UNITS: [(u64, &str); 4] = [(86_400, "d"), (3600, "h"), (60, "m"), (1, "s")];
    let mut left = seconds;
    let mut text = String::new();
    for (unit, name) in UNITS {
        let count = left / unit;
        left %= unit;
        let started = !text.is_empty();
        if count > 0 {
            text += &format!("{count}{name}");
        }
        if started {
            break;
        }
    }
    if text.is_empty() { "0s".into() } else { text }
}

/// Columns with a head, each as wide as it must be.
pub(crate) struct Table {
    rows: Vec<Vec<String>>,
    right: Vec<bool>,
}

impl Table {
    /// Takes the head; a column that begins with `>` is aligned to the right.
    pub(crate) fn new<const N: usize>(head: [&str; N]) -> Self {
        let right = head.iter().map(|name| name.starts_with('>')).collect();
        let head = head.iter().map(|name| name.trim_start_matches('>').to_owned()).collect();
        Self { rows: vec![head], right }
    }

    pub(crate) fn row<const N: usize>(&mut self, cells: [String; N]) {
        self.rows.push(cells.into());
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rows.len() == 1
    }

    pub(crate) fn render(&self) -> String {
        let widths: Vec<usize> = (0..self.right.len())
            .map(|column| self.rows.iter().map(|row| row[column].chars().count()).max())
            .map(|width| width.unwrap_or(0))
            .collect();
        let mut text = String::new();
        for row in &self.rows {
            let cells: Vec<String> = row
                .iter()
                .zip(&widths)
                .zip(&self.right)
                .map(|((cell, width), right)| match right {
                    true => format!("{cell:>width$}"),
                    false => format!("{cell:<width$}"),
                })
                .collect();
            text += cells.join("  ").trim_end();
            text += "\n";
        }
        text
    }
}

/// The beginning of a text of somebody else's, on one line and without control characters.
pub(crate) fn line(text: &str, longest: usize) -> String {
    let clean = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    let mut line: String = clean.take(longest + 1).collect();
    if line.chars().count() > longest {
        line = line.chars().take(longest - 1).collect::<String>() + "…";
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_have_their_two_largest_units() {
        for (seconds, text) in [
            (0, "0s"),
            (59, "59s"),
            (60, "1m"),
            (3_601, "1h"),
            (90_061, "1d1h"),
            (86_400 * 365, "365d"),
        ] {
            assert_eq!(length(seconds), text);
        }
    }

    #[test]
    fn other_peoples_texts_stay_on_their_line() {
        assert_eq!(line("a\nb\u{1b}[31mc", 10), "a b [31mc");
        assert_eq!(line("äöüß", 4), "äöüß");
        assert_eq!(line("äöüßx", 4), "äöü…");
    }
}
