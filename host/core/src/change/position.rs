//! Positions in the stream of changes.

/// How many bits of a [`Position`] count the changes of one writer: a writer that commits 100,000 changes
/// a second fills them in 127 days, and then takes the number of the next writer.
const COUNT_BITS: u32 = 40;

/// The place of a change among all changes of a store.
///
/// It counts per writer, which is one incarnation of one host; each start of an embedded store is a new
/// writer with a higher number, so positions only grow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Position(u64);

impl Position {
    /// The position before the first change of the `writer` with this number.
    #[must_use]
    pub const fn start_of(writer: u32) -> Self {
        Self((writer as u64) << COUNT_BITS)
    }

    /// The position as one number, which grows with it; at most `i64::MAX` for the first 8 million writers.
    #[must_use]
    pub const fn number(self) -> u64 {
        self.0
    }

    /// The position with this [number](Self::number).
    #[must_use]
    pub const fn from_number(number: u64) -> Self {
        Self(number)
    }

    /// The writer that made the change.
    #[must_use]
    pub const fn writer(self) -> u32 {
        (self.0 >> COUNT_BITS) as u32
    }

    /// The next position.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}
