use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use jobwright_core::services::{KeyValueCall, KeyValueError, KeyValueReply, at_once};
use tokio::sync::{Semaphore, mpsc};

use super::super::message::FromRunner;
use super::super::through_host::ThroughHost;
use super::*;

/// Answers with what it was asked; `/slow` never, which it counts while it lasts.
#[derive(Debug)]
struct Echo {
    slow: Arc<Semaphore>,
}

#[async_trait]
impl HostServices for Echo {
    async fn send(
        &self,
        request: http::Request<Bytes>,
        _: Timeouts,
    ) -> Result<http::Response<Body>, HttpRequestError> {
        if request.uri().path() == "/slow" {
            let _counted = self.slow.acquire().await;
            return pending().await;
        }
        let shown = format!("{} {} {:?}", request.method(), request.uri(), request.headers());
        let answer = http::Response::builder().status(203).header("x-shown", shown);
        answer
            .body(at_once(request.into_body()))
            .map_err(|error| HttpRequestError::Broken(error.to_string()))
    }

    async fn key_value(&self, call: KeyValueCall) -> Result<KeyValueReply, KeyValueError> {
        match call {
            KeyValueCall::Increment { by, .. } => Ok(KeyValueReply::Number(by + 1)),
            _ => Err(KeyValueError::Denied("no such luck".to_owned())),
        }
    }

    fn request_bytes(&self) -> u64 {
        100
    }
}

/// What an attempt sees of `outside` through a pipe, which goes on for as long as the future does.
fn through(services: Arc<dyn HostServices>) -> (Arc<ThroughHost>, impl Future<Output = ()>) {
    narrowly(services, 10)
}

/// The same through one that takes so many messages before they are heard.
fn narrowly(
    services: Arc<dyn HostServices>,
    messages: usize,
) -> (Arc<ThroughHost>, impl Future<Output = ()>) {
    let (sender, mut said) = mpsc::channel(messages);
    let inside = Arc::new(ThroughHost::new(sender, 7, services.request_bytes(), 0));
    let mut calls = Calls::to(services, 0);
    let answered = inside.clone();
    let serving = async move {
        loop {
            tokio::select! {
                telling = said.recv() => match telling.map(carried) {
                    Some(FromRunner::Call { call, host_call, .. }) => {
                        calls.start(call, *host_call).expect("the call is within the bounds");
                    }
                    Some(FromRunner::Dropped { call }) => calls.drop(call),
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

async fn send(
    services: &ThroughHost,
    request: http::Request<Bytes>,
) -> Result<http::Response<Body>, HttpRequestError> {
    services.send(request, Timeouts::default()).await
}

fn request(path: &str, body: &'static [u8]) -> http::Request<Bytes> {
    let request = http::Request::builder().method("PUT").header("x-a", "b");
    request.uri(format!("http://a.example{path}")).body(Bytes::from_static(body)).expect("one")
}

#[tokio::test]
async fn requests_and_values_pass_through_the_host() {
    let (services, serving) = through(Arc::new(Echo { slow: Arc::new(Semaphore::new(1)) }));
    let asking = async {
        let response = send(&services, request("/x?y", b"body")).await.expect("an answer");
        assert_eq!(response.status(), 203);
        assert_eq!(response.headers()["x-shown"], "PUT http://a.example/x?y {\"x-a\": \"b\"}");
        assert_eq!(response.into_body().rest().await, Ok(Bytes::from_static(b"body")));
        let (bucket, key) = ("b".to_owned(), "k".to_owned());
        let kept = services
            .key_value(KeyValueCall::Increment { bucket: bucket.clone(), key, by: 41, least: 0 })
            .await;
        assert_eq!(kept, Ok(KeyValueReply::Number(42)));
        let denied = services.key_value(KeyValueCall::Keys { bucket, after: None }).await;
        assert_eq!(denied, Err(KeyValueError::Denied("no such luck".to_owned())));
    };
    tokio::select! { () = serving => {}, () = asking => {} }
}

#[tokio::test]
async fn calls_that_are_too_long_are_not_sent_to_the_host() {
    let (services, serving) = through(Arc::new(Echo { slow: Arc::new(Semaphore::new(1)) }));
    let asking = async {
        let fits = send(&services, request("/", &[0; 100])).await;
        assert!(fits.is_ok(), "{fits:?}");
        let long = send(&services, request("/", &[0; 101])).await;
        assert_eq!(long.err(), Some(HttpRequestError::RequestTooLong(100)));
        let value = Bytes::from(vec![0; 1 << 20]);
        let set = KeyValueCall::Set { bucket: String::new(), key: String::new(), value };
        let refused = services.key_value(set).await;
        assert!(matches!(refused, Err(KeyValueError::Refused(_))), "{refused:?}");
    };
    tokio::select! { () = serving => {}, () = asking => {} }
}

#[tokio::test]
async fn concurrent_calls_above_their_size_bound_are_refused() {
    let slow = Arc::new(Semaphore::new(CALLS));
    let value_bytes = 100 << 10;
    let most = carried_bytes(100, value_bytes);
    let set = |length: u64| {
        let value = Bytes::from(vec![0; usize::try_from(length).expect("it is short")]);
        HostCall::KeyValue(KeyValueCall::Set { bucket: String::new(), key: String::new(), value })
    };
    let mut calls = Calls::to(Arc::new(Echo { slow }), value_bytes);
    assert_eq!(calls.start(1, set(most / 2)), Ok(()));
    assert_eq!(calls.start(2, set(most / 2)), Ok(()));
    let refused = calls.start(3, set(1)).expect_err("too much");
    assert!(refused.starts_with("calls with "), "{refused}");
    // Calls that are answered or dropped no longer count.
    calls.drop(1);
    assert_eq!(calls.next().await.0, 2);
    assert_eq!(calls.start(4, set(most)), Ok(()));
}

#[tokio::test]
async fn a_runner_waits_for_room_within_the_size_bound_of_calls() {
    let slow = Arc::new(Semaphore::new(CALLS));
    let (services, serving) = through(Arc::new(Echo { slow }));
    let body: &[u8] = &[0; 100];
    let asking = async {
        let all = (0..10 * CALLS).map(|_| send(&services, request("/", &[0; 100])));
        for answer in futures_util::future::join_all(all).await {
            let whole = answer.expect("an answer").into_body().rest().await;
            assert_eq!(whole.as_deref(), Ok(body));
        }
    };
    let all = async {
        tokio::select! { () = serving => {}, () = asking => {} }
    };
    tokio::time::timeout(Duration::from_secs(10), all).await.expect("each had room");
}

#[tokio::test]
async fn a_dropped_call_is_aborted_and_others_continue() {
    let slow = Arc::new(Semaphore::new(1));
    let (services, serving) = through(Arc::new(Echo { slow: slow.clone() }));
    let asking = async {
        let waited = async {
            // The call has begun when its place is taken, and is waited for until then.
            let begun = async {
                while slow.available_permits() > 0 {
                    tokio::task::yield_now().await;
                }
            };
            tokio::select! {
                answer = send(&services, request("/slow", b"")) => panic!("{answer:?}"),
                () = begun => {}
            }
            // Dropped by now.
            drop(slow.acquire().await);
        };
        let other = send(&services, request("/", b"other"));
        let ((), other) = tokio::join!(waited, other);
        let other = other.expect("an answer").into_body().rest().await;
        assert_eq!(other, Ok(Bytes::from_static(b"other")));
    };
    let all = async {
        tokio::select! { () = serving => {}, () = asking => {} }
    };
    tokio::time::timeout(Duration::from_secs(10), all).await.expect("it was given up");
}

#[tokio::test]
async fn the_host_learns_of_a_dropped_call_before_the_next_one() {
    let slow = Arc::new(Semaphore::new(CALLS));
    let (services, serving) = narrowly(Arc::new(Echo { slow }), CALLS);
    let asking = async {
        // As many as may be at one time: while they are not heard, there is no way for more.
        let mut many: Vec<_> =
            (0..CALLS).map(|_| Box::pin(send(&services, request("/slow", b"")))).collect();
        for one in &mut many {
            assert!(futures_util::poll!(one).is_pending());
        }
        drop(many);
        send(&services, request("/", b"")).await.expect("an answer");
    };
    let all = async {
        tokio::select! { () = serving => {}, () = asking => {} }
    };
    tokio::time::timeout(Duration::from_secs(10), all).await.expect("there is a way");
}

/// Sends `/slow` in two pieces, the second when it is released; counts while the body lasts.
#[derive(Debug)]
struct InPieces {
    slow: Arc<Semaphore>,
}

#[derive(Debug)]
struct Two {
    given: u8,
    _counted: tokio::sync::OwnedSemaphorePermit,
}

#[async_trait]
impl jobwright_core::services::Pieces for Two {
    async fn next(&mut self) -> Option<Result<Bytes, HttpRequestError>> {
        self.given += 1;
        match self.given {
            1 => Some(Ok(Bytes::from_static(b"one"))),
            2 => Some(Err(HttpRequestError::ResponseTooLong(3))),
            _ => None,
        }
    }
}

#[async_trait]
impl HostServices for InPieces {
    async fn send(
        &self,
        _: http::Request<Bytes>,
        _: Timeouts,
    ) -> Result<http::Response<Body>, HttpRequestError> {
        let counted = self.slow.clone().acquire_owned().await.expect("it is open");
        let body: Body = Box::new(Two { given: 0, _counted: counted });
        Ok(http::Response::new(body))
    }

    async fn key_value(&self, _: KeyValueCall) -> Result<KeyValueReply, KeyValueError> {
        Err(KeyValueError::Denied("no such luck".to_owned()))
    }

    fn request_bytes(&self) -> u64 {
        100
    }
}

#[tokio::test]
async fn a_response_arrives_in_pieces_and_ends_with_its_error() {
    let (services, serving) = through(Arc::new(InPieces { slow: Arc::new(Semaphore::new(1)) }));
    let asking = async {
        for _ in 0..3 {
            // Of which there is one at a time: what has ended, or was dropped, is over there too.
            let mut body = send(&services, request("/", b"")).await.expect("a head").into_body();
            assert_eq!(body.next().await, Some(Ok(Bytes::from_static(b"one"))));
            assert_eq!(body.next().await, Some(Err(HttpRequestError::ResponseTooLong(3))));
            assert_eq!(body.next().await, None);
            drop(send(&services, request("/", b"")).await.expect("a head"));
        }
    };
    let all = async {
        tokio::select! { () = serving => {}, () = asking => {} }
    };
    tokio::time::timeout(Duration::from_secs(10), all).await.expect("each ended");
}

#[tokio::test]
async fn unread_responses_are_bounded() {
    let slow = Arc::new(Semaphore::new(2 * RESPONSES));
    let (services, serving) = through(Arc::new(InPieces { slow }));
    let asking = async {
        let mut kept = vec![];
        for _ in 0..RESPONSES {
            kept.push(send(&services, request("/", b"")).await.expect("a head"));
        }
        let refused = send(&services, request("/", b"")).await.expect_err("one too many");
        assert!(matches!(refused, HttpRequestError::NoRoom(_)), "{refused}");
        kept.pop();
        send(&services, request("/", b"")).await.expect("there is room again");
    };
    tokio::select! { () = serving => {}, () = asking => {} }
}
