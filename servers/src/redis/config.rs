use std::fmt::Write as _;

/// The text of a `redis.conf`.
#[derive(Debug, Default)]
pub(super) struct Config {
    text: String,
}

impl Config {
    /// Adds a directive with its arguments, whatever they hold.
    pub(super) fn set(&mut self, name: &str, arguments: &[&str]) {
        self.text.push_str(name);
        for argument in arguments {
            self.text.push(' ');
            self.push_quoted(argument);
        }
        self.text.push('\n');
    }

    /// Adds a line as it is.
    pub(super) fn line(&mut self, line: &str) {
        self.text.push_str(line);
        self.text.push('\n');
    }

    pub(super) fn text(&self) -> &str {
        &self.text
    }

    fn push_quoted(&mut self, argument: &str) {
        self.text.push('"');
        for character in argument.chars() {
            match character {
                '"' | '\\' => self.text.extend(['\\', character]),
                '\0'..='\x1f' => write!(self.text, "\\x{:02x}", u32::from(character))
                    .expect("a string takes everything"),
                _ => self.text.push(character),
            }
        }
        self.text.push('"');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_quoted_and_lines_are_not() {
        let mut config = Config::default();
        config.set("save", &[""]);
        config.set("user", &["app", "> a\"b\\c\nd é"]);
        config.line("save 60 1");
        assert_eq!(config.text(), "save \"\"\nuser \"app\" \"> a\\\"b\\\\c\\x0ad é\"\nsave 60 1\n");
    }
}
