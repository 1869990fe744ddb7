use crate::error::Failure;

/// How many bytes a line may have, as written after `--max-line`.
pub(crate) fn max_line(value: Option<&str>) -> Result<usize, Failure> {
    let Some(text) = value else { return Ok(MAX_LINE) };
    size(text).ok_or_else(|| {
        Failure::usage(format!("--max-line {text}: this is no number of bytes"))
            .advice("write bytes, or a number with KiB or MiB, up to 1024MiB")
    })
}

fn size(text: &str) -> Option<usize> {
    let (number, unit) = match text.trim() {
        text if text.ends_with("KiB") => (&text[..text.len() - 3], 1 << 10),
        text if text.ends_with("MiB") => (&text[..text.len() - 3], 1 << 20),
        text => (text, 1),
    };
    let bytes = number.trim().parse::<usize>().ok()?.checked_mul(unit)?;
    (1..=LONGEST_LINE).contains(&bytes).then_some(bytes)
}

const MAX_LINE: usize = 16 << 20;
// What databases take in one value.
const LONGEST_LINE: usize = 1 << 30;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_units() {
        assert_eq!(size("1000"), Some(1000));
        assert_eq!(size("16MiB"), Some(16 << 20));
        assert_eq!(size("1 KiB"), Some(1024));
        for text in ["", "0", "-1", "MiB", "1GB", "2000MiB", "1.5MiB"] {
            assert_eq!(size(text), None, "{text:?}");
        }
    }
}
