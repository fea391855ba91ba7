use super::*;

type End = Pipe<Vec<u8>, Vec<u8>>;

fn ends(longest: usize) -> (End, End) {
    let (one, other) = UnixStream::pair().expect("a pipe");
    (Pipe::new(one, longest), Pipe::new(other, longest))
}

#[tokio::test]
async fn a_message_of_the_maximum_length_is_read_and_a_longer_one_is_an_error() {
    // A list of so many numbers below 128 takes three bytes more.
    for (length, is_heard) in [(997, true), (998, false)] {
        let (mut one, mut other) = ends(1_000);
        one.writer.write(&vec![7; length]).await.expect("it listens");
        let heard = other.reader.read().await;
        assert_eq!(heard.is_ok(), is_heard, "{length}: {heard:?}");
        if let Err(error) = heard {
            assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        }
    }
}

#[tokio::test]
async fn invalid_messages_are_errors() {
    let (mut one, mut other) = ends(1_000);
    one.writer.write_raw(Bytes::from_static(b"\xc1")).await.expect("it listens");
    let error = other.reader.read().await.expect_err("no message begins so");
    assert_eq!(error.kind(), io::ErrorKind::InvalidData);
}

#[tokio::test]
async fn reading_a_closed_pipe_reports_its_end() {
    let (one, mut other) = ends(1_000);
    drop(one);
    let error = other.reader.read().await.expect_err("nobody is there");
    assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
}

#[tokio::test]
async fn a_message_written_at_once_is_read() {
    let (one, other) = UnixStream::pair().expect("a pipe");
    write_at_once(&one, &vec![7_u8; 10]).expect("it listens");
    let mut other: End = Pipe::new(other, 1_000);
    assert_eq!(other.reader.read().await.expect("a message"), [7; 10]);
}
