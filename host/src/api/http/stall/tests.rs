use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::*;

#[tokio::test]
async fn a_write_that_nobody_takes_fails() {
    let (near, _far) = tokio::io::duplex(16);
    let mut near = Impatient::new(near, patience(20, 1 << 20));
    let error = near.write_all(&[0; 1000]).await.expect_err("nobody reads it");
    assert_eq!(error.kind(), io::ErrorKind::TimedOut);
}

/// What becomes of 40 bytes of which the other end takes one every 10 ms, by its own clock.
async fn trickled(patience: Patience) -> io::Result<()> {
    tokio::time::pause();
    let (near, mut far) = tokio::io::duplex(1);
    let mut near = Impatient::new(near, patience);
    tokio::spawn(async move {
        loop {
            tokio::time::sleep(Duration::from_millis(10)).await;
            far.read_u8().await.expect("it comes");
        }
    });
    near.write_all(&[7; 40]).await
}

#[tokio::test]
async fn a_write_that_keeps_the_pace_succeeds_however_long_it_takes() {
    trickled(patience(100, 100)).await.expect("all was taken");
}

#[tokio::test]
async fn a_write_of_which_little_is_taken_now_and_then_fails() {
    let error = trickled(patience(100, 200)).await.expect_err("too slow");
    assert_eq!(error.kind(), io::ErrorKind::TimedOut);
}

fn patience(most_ms: u64, bytes_a_second: u64) -> Patience {
    Patience { most: Duration::from_millis(most_ms), bytes_a_second }
}
