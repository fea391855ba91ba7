use super::*;

const BOTH: &str = "POST / HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n";

/// Parses a stream in pieces of `piece` bytes. Returns the positions of overwritten bytes.
fn overwritten(stream: &str, piece: usize) -> Vec<usize> {
    let (mut parser, mut bytes) = (Parser::default(), stream.as_bytes().to_vec());
    bytes.chunks_mut(piece).for_each(|piece| parser.parse(piece));
    let changed = bytes.iter().zip(stream.as_bytes()).map(|(after, before)| after != before);
    changed.enumerate().filter_map(|(at, is)| is.then_some(at)).collect()
}

#[test]
fn the_last_byte_of_a_head_with_both_headers_is_overwritten() {
    let get = "GET / HTTP/1.1\r\nhost: x\r\n\r\n";
    let whole = format!("POST / HTTP/1.1\r\ncontent-length: {}\r\n\r\n{BOTH}", BOTH.len());
    let chunks = "POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n";
    let chunked = format!("{chunks}{:x};a=b\r\n{BOTH}\r\n0\r\ntrailer: x\r\n\r\n", BOTH.len());
    let other = BOTH
        .replace("Content-Length: 5\r\n", "")
        .replace("\r\n\r\n", "\r\ncontent-length : 1\r\ncontent-length:5\r\n\r\n");
    for before in ["", get, &whole, &chunked, &format!("{get}{chunked}{whole}{get}")] {
        for bad in [BOTH, &other, &BOTH.replace("Content-Length: 5", "CONTENT-LENGTH:x")] {
            let stream = format!("{before}{bad}0\r\n\r\n");
            for piece in [1, 2, 3, 7, 64, stream.len()] {
                let end = before.len() + bad.len() - 1;
                assert_eq!(overwritten(&stream, piece), [end], "{piece} {stream:?}");
            }
        }
    }
}

#[test]
fn heads_with_at_most_one_of_the_headers_pass_unchanged() {
    let long = format!("GET / HTTP/1.1\r\nx: {}\r\n\r\n", "transfer-encoding:".repeat(100));
    let bodies = "POST / HTTP/1.1\r\nContent-Length: 2\r\n\r\nabPOST / HTTP/1.1\r\n\
                  Transfer-Encoding: chunked\r\n\r\nA\r\n0123456789\r\n0\r\n\r\n";
    for piece in [1, 5, 1000] {
        assert_eq!(overwritten(&format!("{long}{bodies}{bodies}{long}"), piece), [0usize; 0]);
    }
}
