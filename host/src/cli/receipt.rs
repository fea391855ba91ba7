//! The receipt: the usage of an attempt, as text.

use std::io::{self, Write};

use jobwright_core::limits::show_bytes;
use jobwright_core::outcome::{OutcomeKind, Usage};

/// Writes a receipt, one line per resource.
pub(super) fn write(usage: &Usage, out: &mut dyn Write) -> io::Result<()> {
    let ms = |value: f64| format!("{value:.3} ms");
    let fuel = usage.fuel.map_or("not metered".to_owned(), grouped);
    let log = match usage.log_dropped_bytes {
        0 => show_bytes(usage.log_bytes),
        dropped => {
            format!("{} kept, {} dropped", show_bytes(usage.log_bytes), show_bytes(dropped))
        }
    };
    for (name, value) in [
        ("compile", ms(usage.compile_ms)),
        ("instantiate", ms(usage.instantiate_ms)),
        ("run", ms(usage.run_ms)),
        ("processor", ms(usage.cpu_ms)),
        ("fuel", fuel),
        ("peak memory", show_bytes(usage.peak_memory_bytes)),
        ("payload", show_bytes(usage.payload_bytes)),
        ("output", show_bytes(usage.output_bytes)),
        ("log", log),
    ] {
        writeln!(out, "  {name:<12} {value}")?;
    }
    Ok(())
}

/// The name of an outcome, with spaces.
pub(super) fn words(kind: OutcomeKind) -> String {
    let word = serde_json::to_value(kind).unwrap_or_default();
    word.as_str().unwrap_or_default().replace('_', " ")
}

/// A number in groups of three digits.
pub(super) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::grouped;

    #[test]
    fn digits_are_grouped_from_the_right() {
        for (number, text) in [(0, "0"), (999, "999"), (1000, "1 000"), (1_234_567, "1 234 567")] {
            assert_eq!(grouped(number), text);
        }
    }
}
