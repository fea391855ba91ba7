//! Numbers of bytes for people.

/// A number of bytes for people: `512 MiB`, `1.5 KiB`, `17 bytes`.
#[must_use]
pub fn show_bytes(bytes: u64) -> String {
    for (unit, name) in [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")] {
        if bytes >= unit {
            let (whole, tenths) = (bytes / unit, bytes % unit * 10 / unit);
            return if bytes.is_multiple_of(unit) {
                format!("{whole} {name}")
            } else if tenths == 0 {
                // Shown as it is: a rounded value could read like the limit that it exceeds.
                format!("{bytes} bytes")
            } else {
                format!("{whole}.{tenths} {name}")
            };
        }
    }
    format!("{bytes} bytes")
}
