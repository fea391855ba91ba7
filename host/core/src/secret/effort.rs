//! The bound on the steps that a search for secrets may take.

/// Steps per byte of the input. Input without secrets takes about five: itself, and the four
/// alignments in which its words may be base64. Escapes take some more.
const PER_BYTE: u64 = 64;

/// Steps that any input may take: in a short one, nested escapes take many for each byte.
const AT_LEAST: u64 = 1 << 20;

/// Steps between two checks whether the result is still needed.
const INTERVAL: u64 = 1 << 16;

/// The steps that are left.
pub(super) struct Effort<'a> {
    left: u64,
    until_asked: u64,
    goes_on: &'a dyn Fn() -> bool,
}

impl<'a> Effort<'a> {
    /// For `length` bytes of input. The search ends early once `goes_on` returns false.
    pub(super) fn new(length: usize, goes_on: &'a dyn Fn() -> bool) -> Self {
        let left = (length as u64).saturating_mul(PER_BYTE).saturating_add(AT_LEAST);
        Self { left, until_asked: INTERVAL, goes_on }
    }

    /// Takes so many steps.
    pub(super) fn spend(&mut self, looks: usize) {
        let looks = looks as u64;
        self.left = self.left.saturating_sub(looks);
        self.until_asked = self.until_asked.saturating_sub(looks);
        if self.until_asked == 0 {
            self.until_asked = INTERVAL;
            if !(self.goes_on)() {
                self.left = 0;
            }
        }
    }

    /// Whether none is left: what was found is not all there is.
    pub(super) fn is_spent(&self) -> bool {
        self.left == 0
    }
}
