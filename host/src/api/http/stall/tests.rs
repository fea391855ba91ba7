use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::*;

#[tokio::test]
async fn a_write_fails_if_the_client_does_not_read() {
    let (near, _far) = tokio::io::duplex(16);
    let mut near = StallGuard::new(near, limits(20, 1 << 20));
    let error = near.write_all(&[0; 1000]).await.expect_err("the other end does not read");
    assert_eq!(error.kind(), io::ErrorKind::TimedOut);
}

/// Writes 40 bytes, of which the other end reads one every 10 ms of a paused clock.
async fn trickled(limits: StallLimits) -> io::Result<()> {
    tokio::time::pause();
    let (near, mut far) = tokio::io::duplex(1);
    let mut near = StallGuard::new(near, limits);
    tokio::spawn(async move {
        loop {
            tokio::time::sleep(Duration::from_millis(10)).await;
            far.read_u8().await.expect("a byte");
        }
    });
    near.write_all(&[7; 40]).await
}

#[tokio::test]
async fn a_write_succeeds_at_the_minimum_rate_even_if_it_takes_long() {
    trickled(limits(100, 100)).await.expect("all bytes are written");
}

#[tokio::test]
async fn a_write_fails_below_the_minimum_rate() {
    let error = trickled(limits(100, 200)).await.expect_err("too slow");
    assert_eq!(error.kind(), io::ErrorKind::TimedOut);
}

fn limits(max_wait_ms: u64, bytes_per_second: u64) -> StallLimits {
    StallLimits { max_wait: Duration::from_millis(max_wait_ms), bytes_per_second }
}
