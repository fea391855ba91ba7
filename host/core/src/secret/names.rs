//! Characters by number or name, as HTML refers to them. Pure.

/// What stands between `&` and `;`, or after `&` if it `is_ended` by no `;`: browsers take it all the same
/// after a number and some names.
pub(super) fn character(name: &[u8], is_ended: bool) -> Option<u8> {
    if let Some(digits) = name.strip_prefix(b"#") {
        let byte = match digits.strip_prefix(b"x").or_else(|| digits.strip_prefix(b"X")) {
            Some(digits) => number(digits, 16),
            None => number(digits, 10),
        };
        // Zeros are how longer numbers begin.
        return byte.filter(|byte| is_ended || *byte > 0);
    }
    let others: &[(&str, u8)] = if is_ended { &ENDED } else { &[] };
    let mut known = OLD.iter().chain(others);
    known.find(|(known, _)| known.as_bytes() == name).map(|(_, byte)| *byte)
}

/// A byte in digits of this base.
pub(super) fn number(digits: &[u8], base: u32) -> Option<u8> {
    let digits = std::str::from_utf8(digits).ok()?;
    u8::from_str_radix(digits, base).ok()
}

/// The ASCII characters that have names in HTML of old, when `;` could be left out.
const OLD: [(&str, u8); 8] = [
    ("quot", b'"'),
    ("QUOT", b'"'),
    ("amp", b'&'),
    ("AMP", b'&'),
    ("lt", b'<'),
    ("LT", b'<'),
    ("gt", b'>'),
    ("GT", b'>'),
];

/// The others that have names in HTML.
const ENDED: [(&str, u8); 33] = [
    ("apos", b'\''),
    ("Tab", b'\t'),
    ("NewLine", b'\n'),
    ("excl", b'!'),
    ("num", b'#'),
    ("dollar", b'$'),
    ("percnt", b'%'),
    ("lpar", b'('),
    ("rpar", b')'),
    ("ast", b'*'),
    ("midast", b'*'),
    ("plus", b'+'),
    ("comma", b','),
    ("period", b'.'),
    ("sol", b'/'),
    ("colon", b':'),
    ("semi", b';'),
    ("equals", b'='),
    ("quest", b'?'),
    ("commat", b'@'),
    ("lsqb", b'['),
    ("lbrack", b'['),
    ("bsol", b'\\'),
    ("rsqb", b']'),
    ("rbrack", b']'),
    ("Hat", b'^'),
    ("lowbar", b'_'),
    ("grave", b'`'),
    ("lcub", b'{'),
    ("lbrace", b'{'),
    ("vert", b'|'),
    ("rcub", b'}'),
    ("rbrace", b'}'),
];
