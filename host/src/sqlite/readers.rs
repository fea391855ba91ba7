//! Read-only connections, a few at a time. Each query runs by `spawn_blocking`, concurrently with the writer.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use jobwright_core::store::StoreError;
use rusqlite::Connection;
use tokio::sync::Semaphore;

use super::durable::Durable;
use super::open::open_reader;

/// The number of concurrent queries for single rows: more would only wait for the same disk.
pub(crate) const LOOKUPS: usize = 4;

/// Read-only connections, opened when they are first needed.
#[derive(Debug)]
pub(crate) struct Readers {
    path: PathBuf,
    /// The commits of its writer.
    durable: Arc<Durable>,
    idle: Mutex<Vec<Connection>>,
    /// One for each query, until it has ended.
    places: Arc<Semaphore>,
}

impl Readers {
    /// This number of readers of the database at `path`, which exists.
    pub(super) fn new(path: &Path, count: usize, durable: Arc<Durable>) -> Self {
        let places = Arc::new(Semaphore::new(count));
        Self { path: path.to_owned(), durable, idle: Mutex::default(), places }
    }

    /// Runs `query` on a connection of its own, and returns its result when every commit that it may have seen is on
    /// disk.
    pub(crate) async fn read<A: Send + 'static>(
        self: &Arc<Self>,
        query: impl FnOnce(&Connection) -> rusqlite::Result<A> + Send + 'static,
    ) -> Result<A, StoreError> {
        let answer = self.peek(query).await?;
        match self.durable.seen().await {
            true => Ok(answer),
            false => Err(unavailable("its write-ahead log could not be synced")),
        }
    }

    /// As [`Readers::read`], also from commits that a power loss can undo: for what nobody is told. The query keeps its permit until it has ended, even if the future is
    /// dropped, so there are never more queries and connections than permits.
    pub(crate) async fn peek<A: Send + 'static>(
        self: &Arc<Self>,
        query: impl FnOnce(&Connection) -> rusqlite::Result<A> + Send + 'static,
    ) -> Result<A, StoreError> {
        let place = self.places.clone().acquire_owned().await;
        let place = place.map_err(|_| unavailable("it is closed"))?;
        let readers = self.clone();
        let work = move || {
            let idle = readers.lock().pop();
            let connection = idle.map_or_else(|| open_reader(&readers.path), Ok)?;
            let answer = query(&connection);
            readers.lock().push(connection);
            drop(place);
            answer
        };
        match tokio::task::spawn_blocking(work).await {
            Ok(answer) => answer.map_err(|error| store_error(&error)),
            Err(_) => Err(unavailable("a query was interrupted")),
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Connection>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn unavailable(reason: &str) -> StoreError {
    StoreError::Unavailable { reason: reason.to_owned() }
}

/// The store's error for an error of SQLite.
pub(crate) fn store_error(error: &rusqlite::Error) -> StoreError {
    use rusqlite::{Error, ErrorCode};
    let corrupt = match error {
        Error::FromSqlConversionFailure(..)
        | Error::InvalidColumnType(..)
        | Error::IntegralValueOutOfRange(..) => true,
        other => matches!(
            other.sqlite_error_code(),
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase)
        ),
    };
    if corrupt {
        StoreError::Corrupt { what: error.to_string() }
    } else {
        StoreError::Unavailable { reason: error.to_string() }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use tokio::sync::oneshot;

    use super::*;

    #[tokio::test]
    async fn a_query_keeps_its_connection_until_it_has_ended() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("jobs.db");
        Connection::open(&path)
            .and_then(|db| db.execute_batch("CREATE TABLE t (x)"))
            .expect("a file");
        let readers = Arc::new(Readers::new(&path, 1, Arc::default()));
        let ((begin, begun), (end, ended)) = (oneshot::channel(), mpsc::channel::<()>());
        let reading = readers.clone();
        let first = tokio::spawn(async move {
            let long = move |_: &Connection| {
                let _ = begin.send(());
                let _ = ended.recv();
                Ok(())
            };
            reading.read(long).await
        });
        begun.await.expect("it begins");
        first.abort();
        first.await.expect_err("its future was dropped");
        let mut second = Box::pin(readers.read(|_| Ok(())));
        assert!(futures_util::poll!(&mut second).is_pending(), "the first goes on");
        drop(end);
        second.await.expect("it has a permit");
        assert_eq!(readers.lock().len(), 1, "there never was another connection");
    }
}
