//! Connecting to one of several addresses: side by side, after RFC 8305 (Happy Eyeballs).
//!
//! Invariant: every address was checked before; the first connection that is there is taken, and the
//! others are given up.

use std::net::SocketAddr;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use jobwright_core::services::HttpRequestError;
use tokio::net::TcpStream;
use tokio::time::sleep;

/// How much later the next address is tried while the one before does not answer (RFC 8305, section 5).
const STAGGER: Duration = Duration::from_millis(250);

/// The most addresses of a name that are tried: within the limit for a connection there is time for 40.
const MOST: usize = 16;

/// A connection to one of these addresses.
///
/// # Errors
/// With that of the address that failed last, once all have.
pub(super) async fn connect(addresses: Vec<SocketAddr>) -> Result<TcpStream, HttpRequestError> {
    race(addresses, connected).await
}

async fn connected(address: SocketAddr) -> Result<TcpStream, HttpRequestError> {
    let failed = |error: std::io::Error| HttpRequestError::Unconnected(error.to_string());
    let stream = TcpStream::connect(address).await.map_err(failed)?;
    // Requests are written whole.
    stream.set_nodelay(true).map_err(failed)?;
    Ok(stream)
}

async fn race<T, C: Future<Output = Result<T, HttpRequestError>>>(
    addresses: Vec<SocketAddr>,
    connect: impl Fn(SocketAddr) -> C,
) -> Result<T, HttpRequestError> {
    let mut waiting = interleaved(addresses).into_iter().take(MOST).peekable();
    let mut trying = FuturesUnordered::new();
    let mut failure = HttpRequestError::Unresolved("it has no address".to_owned());
    loop {
        // The next is due: the latest has failed, or has had its time.
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

/// One family after the other, that of the first address first (RFC 8305, section 4).
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

    /// What an address does: after so many milliseconds it answers, or refuses.
    fn behaving(address: SocketAddr) -> (u64, bool) {
        (u64::from(address.port()), !address.ip().is_loopback())
    }

    /// Which address wins, when, and in which order and when they were tried.
    async fn raced(
        texts: &[&str],
    ) -> (Result<SocketAddr, HttpRequestError>, u128, Vec<(String, u128)>) {
        let (start, tried) = (Instant::now(), RefCell::new(vec![]));
        let connect = |address: SocketAddr| {
            tried.borrow_mut().push((address.to_string(), start.elapsed().as_millis()));
            async move {
                let (after, answers) = behaving(address);
                sleep(Duration::from_millis(after)).await;
                let refused = || HttpRequestError::Unconnected(address.to_string());
                if answers { Ok(address) } else { Err(refused()) }
            }
        };
        let won = race(addresses(texts), connect).await;
        (won, start.elapsed().as_millis(), tried.into_inner())
    }

    #[test]
    fn families_alternate_from_that_of_the_first_on() {
        let mixed = addresses(&["[::1]:1", "[::2]:1", "[::3]:1", "1.1.1.1:1", "1.1.1.2:1"]);
        let expected = addresses(&["[::1]:1", "1.1.1.1:1", "[::2]:1", "1.1.1.2:1", "[::3]:1"]);
        assert_eq!(interleaved(mixed), expected);
        let one = addresses(&["1.1.1.1:1", "1.1.1.2:1"]);
        assert_eq!(interleaved(one.clone()), one);
    }

    #[tokio::test(start_paused = true)]
    async fn an_address_that_does_not_answer_holds_the_next_up_for_a_quarter_of_a_second() {
        let (won, after, tried) = raced(&["1.1.1.1:60000", "[::2]:100", "1.1.1.2:10"]).await;
        assert_eq!((won.expect("it answers").to_string(), after), ("[::2]:100".to_owned(), 350));
        let expected = [("1.1.1.1:60000".to_owned(), 0), ("[::2]:100".to_owned(), 250)];
        assert_eq!(tried, expected);
    }

    #[tokio::test(start_paused = true)]
    async fn an_address_that_refuses_does_not_hold_the_next_up() {
        let (won, after, _) = raced(&["127.0.0.1:5", "127.0.0.2:5", "1.1.1.1:10"]).await;
        assert_eq!((won.expect("it answers").to_string(), after), ("1.1.1.1:10".to_owned(), 20));
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_answers_late_wins_over_those_that_never_do() {
        let (won, after, tried) = raced(&["1.1.1.1:600", "1.1.1.2:60000", "1.1.1.3:60000"]).await;
        assert_eq!((won.expect("it answers").to_string(), after), ("1.1.1.1:600".to_owned(), 600));
        assert_eq!(tried.len(), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn when_all_refuse_the_last_says_why() {
        let (lost, _, tried) = raced(&["127.0.0.1:5", "127.0.0.2:5"]).await;
        assert_eq!(lost, Err(HttpRequestError::Unconnected("127.0.0.2:5".to_owned())));
        assert_eq!(tried.len(), 2);
        let (none, _, _) = raced(&[]).await;
        assert!(matches!(none, Err(HttpRequestError::Unresolved(_))), "{none:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn so_many_addresses_are_tried_and_no_more() {
        let many: Vec<String> = (0..100).map(|n| format!("127.0.0.1:{n}")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        assert_eq!(raced(&many).await.2.len(), MOST);
    }
}
