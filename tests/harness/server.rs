//! An HTTP server that sends what a test wants, including invalid responses.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

/// A server that sends what a test wants. Stops when dropped.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    seen: Arc<Mutex<Vec<String>>>,
    accepting: JoinHandle<()>,
}

impl Server {
    /// Passes each connection's request to `answer`, sends the result, and closes the connection.
    ///
    /// # Errors
    /// If there is no port for it.
    pub async fn answering(
        answer: impl Fn(&str) -> Vec<u8> + Send + Sync + 'static,
    ) -> anyhow::Result<Self> {
        let answer = Arc::new(answer);
        Self::serving(move |mut stream, request| {
            let answer = answer.clone();
            async move {
                let _ = stream.write_all(&answer(&request)).await;
                let _ = stream.shutdown().await;
            }
        })
        .await
    }

    /// Passes each connection, with the text of its request, to `serve`.
    ///
    /// # Errors
    /// If there is no port for it.
    pub async fn serving<F>(
        serve: impl Fn(TcpStream, String) -> F + Send + Sync + 'static,
    ) -> anyhow::Result<Self>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let (address, seen) = (listener.local_addr()?, Arc::new(Mutex::new(vec![])));
        let (serve, log) = (Arc::new(serve), seen.clone());
        let accepting = tokio::spawn(async move {
            let mut serving = JoinSet::new();
            while let Ok((mut stream, _)) = listener.accept().await {
                let (serve, log) = (serve.clone(), log.clone());
                serving.spawn(async move {
                    let Some(request) = request(&mut stream).await else { return };
                    log.lock().unwrap_or_else(PoisonError::into_inner).push(request.clone());
                    serve(stream, request).await;
                });
            }
        });
        Ok(Self { address, seen, accepting })
    }

    /// A response with a body and its length.
    #[must_use]
    pub fn ok(body: &str) -> Vec<u8> {
        format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len()).into_bytes()
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The requests so far, each as it was written.
    #[must_use]
    pub fn seen(&self) -> Vec<String> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// A whole request; `None` if it breaks off.
async fn request(stream: &mut TcpStream) -> Option<String> {
    let mut bytes = vec![];
    loop {
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
        let Some(head) = bytes.windows(4).position(|end| end == b"\r\n\r\n") else { continue };
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let length = text.lines().find_map(|line| line.strip_prefix("content-length: "));
        let length: usize = length.map_or(Some(0), |length| length.trim().parse().ok())?;
        if bytes.len() >= head + 4 + length {
            return Some(text);
        }
    }
}
