//! A raw connection on which a test writes every byte, to send invalid requests.

use anyhow::{Context as _, ensure};
use jobwright_tests::TestHost;
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::soon;

/// A raw connection.
pub(super) struct Wire {
    stream: TcpStream,
    read: Vec<u8>,
}

impl Wire {
    pub(super) async fn to(host: &TestHost) -> anyhow::Result<Self> {
        Ok(Self { stream: TcpStream::connect(host.address()).await?, read: vec![] })
    }

    /// Connects, and sends these bytes.
    pub(super) async fn with(host: &TestHost, sent: impl AsRef<[u8]>) -> anyhow::Result<Self> {
        let mut wire = Self::to(host).await?;
        wire.send(sent).await?;
        Ok(wire)
    }

    pub(super) async fn send(&mut self, bytes: impl AsRef<[u8]>) -> anyhow::Result<()> {
        Ok(soon(self.stream.write_all(bytes.as_ref())).await??)
    }

    /// The status and the body of the next response.
    pub(super) async fn answer(&mut self) -> anyhow::Result<(u16, String)> {
        let (status, length) = self.head().await?;
        while self.read.len() < length {
            ensure!(self.more().await?, "closed in the body: {:?}", self.shown());
        }
        let body: Vec<u8> = self.read.drain(..length).collect();
        Ok((status, String::from_utf8_lossy(&body).into_owned()))
    }

    /// The status of the next response and the length of its body. The body is read only as far as it has
    /// arrived with the head.
    pub(super) async fn head(&mut self) -> anyhow::Result<(u16, usize)> {
        let head_ends = loop {
            if let Some(place) = find(&self.read, b"\r\n\r\n") {
                break place + 4;
            }
            ensure!(self.more().await?, "closed in the head: {:?}", self.shown());
        };
        let head = String::from_utf8_lossy(&self.read[..head_ends]).to_ascii_lowercase();
        let status = head.split(' ').nth(1).context("a status line")?.parse()?;
        let length = head.lines().find_map(|line| line.strip_prefix("content-length:"));
        let length: usize = length.unwrap_or("0").trim().parse()?;
        self.read.drain(..head_ends);
        Ok((status, length))
    }

    /// Reads `length` bytes of a body.
    pub(super) async fn body(&mut self, length: usize) -> anyhow::Result<()> {
        while self.read.len() < length {
            ensure!(self.more().await?, "closed in the body");
        }
        self.read.drain(..length);
        Ok(())
    }

    /// The status and the code of the next response, which must be a problem.
    pub(super) async fn problem(&mut self) -> anyhow::Result<(u16, String)> {
        let (status, body) = self.answer().await?;
        let problem: Value =
            serde_json::from_str(&body).with_context(|| format!("{status} {body}"))?;
        Ok((status, problem["code"].as_str().context("a problem has a code")?.to_owned()))
    }

    /// Waits until the host closes or resets the connection.
    pub(super) async fn closed(mut self) -> anyhow::Result<()> {
        soon(async { while self.stream.read_buf(&mut self.read).await.is_ok_and(|n| n > 0) {} })
            .await
            .context("the host did not close the connection")
    }

    async fn more(&mut self) -> anyhow::Result<bool> {
        Ok(soon(self.stream.read_buf(&mut self.read)).await?? > 0)
    }

    fn shown(&self) -> String {
        String::from_utf8_lossy(&self.read).into_owned()
    }
}

fn find(text: &[u8], sought: &[u8]) -> Option<usize> {
    text.windows(sought.len()).position(|window| window == sought)
}
