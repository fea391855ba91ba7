//! The calls of one attempt to what it was granted outside, which its host makes for it.

use std::collections::HashMap;
use std::future::pending;
use std::sync::Arc;

use futures_util::StreamExt as _;
use futures_util::future::{AbortHandle, Aborted, BoxFuture, abortable};
use futures_util::stream::FuturesUnordered;
use jobwright_core::attempt::Attempt;
use jobwright_core::outside::{Outside, Unsent};

use super::message::{Answer, Ask};
use super::outside::CALLS;

/// Those that have no answer yet. Dropping it drops them.
pub(super) struct Calls {
    outside: Arc<dyn Outside>,
    running: FuturesUnordered<BoxFuture<'static, (u64, Result<Answer, Aborted>)>>,
    handles: HashMap<u64, AbortHandle>,
}

impl Calls {
    pub(super) fn new(attempt: &Attempt) -> Self {
        let (running, handles) = (FuturesUnordered::new(), HashMap::new());
        Self { outside: attempt.granted.outside.clone(), running, handles }
    }

    /// Begins a call.
    ///
    /// # Errors
    /// With what an honest runner never does.
    pub(super) fn start(&mut self, call: u64, ask: Ask) -> Result<(), String> {
        if self.handles.len() >= CALLS {
            return Err(format!("more than {CALLS} calls at one time"));
        }
        let (making, handle) = abortable(make(self.outside.clone(), ask));
        if self.handles.insert(call, handle).is_some() {
            return Err(format!("two calls with the number {call}"));
        }
        self.running.push(Box::pin(async move { (call, making.await) }));
        Ok(())
    }

    /// Gives a call up.
    pub(super) fn drop(&mut self, call: u64) {
        if let Some(handle) = self.handles.remove(&call) {
            handle.abort();
        }
    }

    /// The next answer; waits for ever if nothing was asked. Whoever drops this has missed nothing.
    pub(super) async fn next(&mut self) -> (u64, Answer) {
        loop {
            match self.running.next().await {
                Some((call, Ok(answer))) => {
                    self.handles.remove(&call);
                    return (call, answer);
                }
                Some((_, Err(Aborted))) => {}
                None => pending().await,
            }
        }
    }
}

async fn make(outside: Arc<dyn Outside>, ask: Ask) -> Answer {
    match ask {
        Ask::Keep(call) => Answer::Kept(outside.keep(call).await),
        Ask::Send(request) => Answer::Sent(match request.try_into() {
            Ok(request) => outside.send(request).await.map(Into::into),
            Err(error) => Err(Unsent::Denied(format!("it is no request: {error}"))),
        }),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use async_trait::async_trait;
    use bytes::Bytes;
    use jobwright_core::grant::Grants;
    use jobwright_core::outside::{Granted, Keep, Kept, Unkept};
    use tokio::sync::{Semaphore, mpsc};

    use super::super::message::Telling;
    use super::super::outside::ThroughHost;
    use super::*;

    /// Answers with what it was asked; `/slow` never, which it counts while it lasts.
    #[derive(Debug)]
    struct Echo {
        slow: Arc<Semaphore>,
    }

    #[async_trait]
    impl Outside for Echo {
        async fn send(
            &self,
            request: http::Request<Bytes>,
        ) -> Result<http::Response<Bytes>, Unsent> {
            if request.uri().path() == "/slow" {
                let _counted = self.slow.acquire().await;
                return pending().await;
            }
            let shown = format!("{} {} {:?}", request.method(), request.uri(), request.headers());
            let answer = http::Response::builder().status(203).header("x-shown", shown);
            answer.body(request.into_body()).map_err(|error| Unsent::Broken(error.to_string()))
        }

        async fn keep(&self, call: Keep) -> Result<Kept, Unkept> {
            match call {
                Keep::Increment { by, .. } => Ok(Kept::Number(by + 1)),
                _ => Err(Unkept::Denied("no such luck".to_owned())),
            }
        }

        fn request_bytes(&self) -> u64 {
            100
        }
    }

    /// What an attempt sees of `outside` through a pipe, which goes on for as long as the future does.
    fn through(outside: Arc<dyn Outside>) -> (Arc<ThroughHost>, impl Future<Output = ()>) {
        narrowly(outside, 10)
    }

    /// The same through one that takes so many messages before they are heard.
    fn narrowly(
        outside: Arc<dyn Outside>,
        messages: usize,
    ) -> (Arc<ThroughHost>, impl Future<Output = ()>) {
        let (sender, mut said) = mpsc::channel(messages);
        let inside = Arc::new(ThroughHost::new(sender, 7, (outside.request_bytes(), 0)));
        let mut calls = Calls {
            outside: Granted { grants: Arc::new(Grants::default()), outside }.outside,
            running: FuturesUnordered::new(),
            handles: HashMap::new(),
        };
        let answered = inside.clone();
        let serving = async move {
            loop {
                tokio::select! {
                    telling = said.recv() => match telling.map(carried) {
                        Some(Telling::Call { call, ask, .. }) => {
                            calls.start(call, *ask).expect("an honest runner");
                        }
                        Some(Telling::Dropped { call }) => calls.drop(call),
                        other => panic!("{other:?}"),
                    },
                    (call, answer) = calls.next() => answered.answered(call, carried(answer)),
                }
            }
        };
        (inside, serving)
    }

    /// A message as it comes out of a pipe.
    fn carried<M: serde::Serialize + serde::de::DeserializeOwned>(message: M) -> M {
        let encoded = rmp_serde::to_vec_named(&message).expect("it can be encoded");
        rmp_serde::from_slice(&encoded).expect("it can be decoded")
    }

    fn request(path: &str, body: &'static [u8]) -> http::Request<Bytes> {
        let request = http::Request::builder().method("PUT").header("x-a", "b");
        request.uri(format!("http://a.example{path}")).body(Bytes::from_static(body)).expect("one")
    }

    #[tokio::test]
    async fn requests_and_values_go_to_the_host_and_come_back() {
        let (outside, serving) = through(Arc::new(Echo { slow: Arc::new(Semaphore::new(1)) }));
        let asking = async {
            let response = outside.send(request("/x?y", b"body")).await.expect("an answer");
            assert_eq!(response.status(), 203);
            assert_eq!(response.headers()["x-shown"], "PUT http://a.example/x?y {\"x-a\": \"b\"}");
            assert_eq!(response.body().as_ref(), b"body");
            let (bucket, key) = ("b".to_owned(), "k".to_owned());
            let kept = outside
                .keep(Keep::Increment { bucket: bucket.clone(), key, by: 41, least: 0 })
                .await;
            assert_eq!(kept, Ok(Kept::Number(42)));
            let denied = outside.keep(Keep::Keys { bucket, after: None }).await;
            assert_eq!(denied, Err(Unkept::Denied("no such luck".to_owned())));
        };
        tokio::select! { () = serving => {}, () = asking => {} }
    }

    #[tokio::test]
    async fn what_is_too_long_stays_with_the_guest() {
        let (outside, serving) = through(Arc::new(Echo { slow: Arc::new(Semaphore::new(1)) }));
        let asking = async {
            let fits = outside.send(request("/", &[0; 100])).await;
            assert!(fits.is_ok(), "{fits:?}");
            let long = outside.send(request("/", &[0; 101])).await;
            assert_eq!(long.err(), Some(Unsent::RequestTooLong(100)));
            let value = Bytes::from(vec![0; 1 << 20]);
            let set = Keep::Set { bucket: String::new(), key: String::new(), value };
            let refused = outside.keep(set).await;
            assert!(matches!(refused, Err(Unkept::Refused(_))), "{refused:?}");
        };
        tokio::select! { () = serving => {}, () = asking => {} }
    }

    #[tokio::test]
    async fn a_call_that_nobody_waits_for_is_given_up_and_others_go_on() {
        let slow = Arc::new(Semaphore::new(1));
        let (outside, serving) = through(Arc::new(Echo { slow: slow.clone() }));
        let asking = async {
            let waited = async {
                // The call has begun when its place is taken, and is waited for until then.
                let begun = async {
                    while slow.available_permits() > 0 {
                        tokio::task::yield_now().await;
                    }
                };
                tokio::select! {
                    answer = outside.send(request("/slow", b"")) => panic!("{answer:?}"),
                    () = begun => {}
                }
                // Dropped by now.
                drop(slow.acquire().await);
            };
            let other = outside.send(request("/", b"other"));
            let ((), other) = tokio::join!(waited, other);
            assert_eq!(other.expect("an answer").body().as_ref(), b"other");
        };
        let all = async {
            tokio::select! { () = serving => {}, () = asking => {} }
        };
        tokio::time::timeout(Duration::from_secs(10), all).await.expect("it was given up");
    }

    #[tokio::test]
    async fn whatever_is_given_up_the_host_hears_of_it_before_there_are_more() {
        let slow = Arc::new(Semaphore::new(CALLS));
        let (outside, serving) = narrowly(Arc::new(Echo { slow }), CALLS);
        let asking = async {
            // As many as may be at one time: while they are not heard, there is no way for more.
            let mut many: Vec<_> =
                (0..CALLS).map(|_| Box::pin(outside.send(request("/slow", b"")))).collect();
            for one in &mut many {
                assert!(futures_util::poll!(one).is_pending());
            }
            drop(many);
            outside.send(request("/", b"")).await.expect("an answer");
        };
        let all = async {
            tokio::select! { () = serving => {}, () = asking => {} }
        };
        tokio::time::timeout(Duration::from_secs(10), all).await.expect("there is a way");
    }
}
