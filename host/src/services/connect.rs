//! Connects to one of several addresses, in parallel, after RFC 8305 (Happy Eyeballs).
//!
//! Invariants: the caller has checked every address; the first established connection is used, and the
//! other attempts to connect are dropped.

use std::net::SocketAddr;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use jobwright_core::services::HttpRequestError;
use tokio::net::TcpStream;
use tokio::time::sleep;

/// The delay before the next address is tried while the previous one does not respond (RFC 8305, section 5).
const STAGGER: Duration = Duration::from_millis(250);

/// The maximum number of addresses that are tried. There is time for 40 within the timeout for connecting.
const MAX_ADDRESSES: usize = 16;

/// A connection to one of these addresses.
///
/// # Errors
/// If all attempts to connect fail: the last error.
pub(super) async fn connect(addresses: Vec<SocketAddr>) -> Result<TcpStream, HttpRequestError> {
    race(addresses, connect_to).await
}

async fn connect_to(address: SocketAddr) -> Result<TcpStream, HttpRequestError> {
    let failed = |error: std::io::Error| HttpRequestError::Unconnected(error.to_string());
    let stream = TcpStream::connect(address).await.map_err(failed)?;
    // Each request is written at once, so delaying small segments would only cost time.
    stream.set_nodelay(true).map_err(failed)?;
    Ok(stream)
}

async fn race<T, C: Future<Output = Result<T, HttpRequestError>>>(
    addresses: Vec<SocketAddr>,
    connect: impl Fn(SocketAddr) -> C,
) -> Result<T, HttpRequestError> {
    let mut waiting = interleaved(addresses).into_iter().take(MAX_ADDRESSES).peekable();
    let mut trying = FuturesUnordered::new();
    let mut failure = HttpRequestError::Unresolved("it has no address".to_owned());
    loop {
        // The latest attempt has failed, or the delay has passed: try the next address.
        trying.extend(waiting.next().map(&connect));
        tokio::select! {
            biased;
            ended = trying.next() => match ended {
                Some(Ok(connection)) => return Ok(connection),
                Some(Err(error)) => failure = error,
                None => return Err(failure),
            },
            () = sleep(STAGGER), if waiting.peek().is_some() => {}
        }
    }
}

/// The addresses with their families alternating, beginning with that of the first (RFC 8305, section 4).
fn interleaved(addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let first = addresses.first().is_some_and(SocketAddr::is_ipv6);
    let (one, other): (Vec<_>, Vec<_>) =
        addresses.into_iter().partition(|address| address.is_ipv6() == first);
    let (mut one, mut other) = (one.into_iter(), other.into_iter());
    let mut all = vec![];
    loop {
        let pair = [one.next(), other.next()];
        if pair == [None, None] {
            return all;
        }
        all.extend(pair.into_iter().flatten());
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use tokio::time::Instant;

    use super::*;

    fn addresses(texts: &[&str]) -> Vec<SocketAddr> {
        texts.iter().map(|text| text.parse().expect("an address")).collect()
    }

    /// How an address behaves: its port is the delay in milliseconds; loopback addresses refuse.
    fn behavior(address: SocketAddr) -> (u64, bool) {
        (u64::from(address.port()), !address.ip().is_loopback())
    }

    /// The winning address, the time until then, and the addresses tried with the times of these tries.
    async fn raced(
        texts: &[&str],
    ) -> (Result<SocketAddr, HttpRequestError>, u128, Vec<(String, u128)>) {
        let (start, tried) = (Instant::now(), RefCell::new(vec![]));
        let connect = |address: SocketAddr| {
            tried.borrow_mut().push((address.to_string(), start.elapsed().as_millis()));
            async move {
                let (delay, accepts) = behavior(address);
                sleep(Duration::from_millis(delay)).await;
                let refused = || HttpRequestError::Unconnected(address.to_string());
                if accepts { Ok(address) } else { Err(refused()) }
            }
        };
        let won = race(addresses(texts), connect).await;
        (won, start.elapsed().as_millis(), tried.into_inner())
    }

    #[test]
    fn address_families_alternate_beginning_with_the_first() {
        let mixed = addresses(&["[::1]:1", "[::2]:1", "[::3]:1", "1.1.1.1:1", "1.1.1.2:1"]);
        let expected = addresses(&["[::1]:1", "1.1.1.1:1", "[::2]:1", "1.1.1.2:1", "[::3]:1"]);
        assert_eq!(interleaved(mixed), expected);
        let one = addresses(&["1.1.1.1:1", "1.1.1.2:1"]);
        assert_eq!(interleaved(one.clone()), one);
    }

    #[tokio::test(start_paused = true)]
    async fn an_unresponsive_address_delays_the_next_by_250_milliseconds() {
        let (won, after, tried) = raced(&["1.1.1.1:60000", "[::2]:100", "1.1.1.2:10"]).await;
        assert_eq!((won.expect("it accepts").to_string(), after), ("[::2]:100".to_owned(), 350));
        let expected = [("1.1.1.1:60000".to_owned(), 0), ("[::2]:100".to_owned(), 250)];
        assert_eq!(tried, expected);
    }

    #[tokio::test(start_paused = true)]
    async fn an_address_that_refuses_does_not_delay_the_next() {
        let (won, after, _) = raced(&["127.0.0.1:5", "127.0.0.2:5", "1.1.1.1:10"]).await;
        assert_eq!((won.expect("it accepts").to_string(), after), ("1.1.1.1:10".to_owned(), 20));
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_address_wins_over_unresponsive_ones() {
        let (won, after, tried) = raced(&["1.1.1.1:600", "1.1.1.2:60000", "1.1.1.3:60000"]).await;
        assert_eq!((won.expect("it accepts").to_string(), after), ("1.1.1.1:600".to_owned(), 600));
        assert_eq!(tried.len(), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn if_all_addresses_refuse_the_last_error_is_returned() {
        let (lost, _, tried) = raced(&["127.0.0.1:5", "127.0.0.2:5"]).await;
        assert_eq!(lost, Err(HttpRequestError::Unconnected("127.0.0.2:5".to_owned())));
        assert_eq!(tried.len(), 2);
        let (none, _, _) = raced(&[]).await;
        assert!(matches!(none, Err(HttpRequestError::Unresolved(_))), "{none:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn at_most_16_addresses_are_tried() {
        let many: Vec<String> = (0..100).map(|n| format!("127.0.0.1:{n}")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        assert_eq!(raced(&many).await.2.len(), MAX_ADDRESSES);
    }
}
