use super::Spread;

/// What a ratio has to reach.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Goal {
    AtLeast(f64),
    AtMost(f64),
}

impl Goal {
    /// The goal and whether the median reaches it.
    pub(crate) fn judge(self, value: f64) -> String {
        let (sign, goal, reached) = match self {
            Self::AtLeast(goal) => ("≥", goal, value >= goal),
            Self::AtMost(goal) => ("≤", goal, value <= goal),
        };
        format!("{sign} {goal} {}", if reached { "reached" } else { "MISSED" })
    }
}

/// A table in Markdown, aligned for reading as plain text.
#[derive(Debug)]
pub(crate) struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(crate) fn new(head: &[&str]) -> Self {
        Self { rows: vec![head.iter().map(|&cell| cell.to_owned()).collect()] }
    }

    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().collect());
    }

    pub(crate) fn print(&self, title: &str) {
        let columns = self.rows[0].len();
        let widths: Vec<usize> = (0..columns)
            .map(|column| self.rows.iter().map(|row| row[column].chars().count()).max())
            .map(Option::unwrap_or_default)
            .collect();
        println!("### {title}\n");
        for (index, row) in self.rows.iter().enumerate() {
            let cells: Vec<String> = row
                .iter()
                .zip(&widths)
                .map(|(cell, width)| format!("{cell}{}", " ".repeat(width - cell.chars().count())))
                .collect();
            println!("| {} |", cells.join(" | "));
            if index == 0 {
                let lines: Vec<String> = widths.iter().map(|width| "-".repeat(*width)).collect();
                println!("| {} |", lines.join(" | "));
            }
        }
        println!();
    }
}

/// A ratio's cells: the spread, and the goal if there is one.
pub(crate) fn judged(ratio: Spread, goal: Option<Goal>) -> [String; 2] {
    [ratio.to_string(), goal.map_or_else(String::new, |goal| goal.judge(ratio.median))]
}
