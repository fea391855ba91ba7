//! Values that guests and clients choose, in the log.

/// `text` on one line, without control characters.
pub(super) fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::one_line;

    #[test]
    fn control_characters_are_replaced_by_spaces() {
        assert_eq!(one_line("a\nb\u{1b}[31m\tä"), "a b [31m ä");
    }
}
