//! The one writer, with group commit.
//!
//! Requests queue up while a commit is being synced; the next transaction takes all that wait, each in its own savepoint, so
//! that they share one sync and still fail alone. Nobody is answered before the commit.

use std::thread::JoinHandle;

use fettle_ports::StoreError;
use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot};

use super::disk::Disk;
use super::failure::{Failure, Outage};
use super::lock::DatabaseLock;

/// Requests that wait for the writer. Beyond it callers wait their turn outside, holding only their own request: the queue
/// bounds memory, not the work accepted.
pub(super) const QUEUE_MAX: usize = 256;

/// Requests in one transaction. Enough that the sync no longer matters; few enough that the first is not kept waiting long.
const GROUP_MAX: usize = 128;

/// The writer thread and the way to it.
#[derive(Debug)]
pub(super) struct Writer {
    queue: Option<mpsc::Sender<Box<dyn Request>>>,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    /// Starts the thread. It keeps `lock` until it has ended.
    pub(super) fn start(db: Connection, disk: Disk, lock: DatabaseLock) -> std::io::Result<Self> {
        let (queue, mut requests) = mpsc::channel(QUEUE_MAX);
        let thread = std::thread::Builder::new()
            .name("fettle-store".to_owned())
            .spawn(move || {
                while let Some(group) = next_group(&mut requests) {
                    write_group(&db, &disk, group);
                }
                // The connection goes first: closing it folds the log into the database, still under the lock.
                drop(db);
                drop(lock);
            })?;
        Ok(Self {
            queue: Some(queue),
            thread: Some(thread),
        })
    }

    /// Has `work` done; answers after its commit. When this future is dropped after the queue took the work, it is done all
    /// the same.
    pub(super) async fn write<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: Fn(&Connection) -> Result<T, Failure> + Send + 'static,
    {
        self.send(work).await?.await.map_err(|_| stopped())?
    }

    /// Queues `work`; its answer comes through the channel.
    pub(super) async fn send<T, F>(&self, work: F) -> Result<Answer<T>, StoreError>
    where
        T: Send + 'static,
        F: Fn(&Connection) -> Result<T, Failure> + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let request = Box::new(Write {
            work,
            result: None,
            reply,
        });
        let queue = self.queue.as_ref().ok_or_else(stopped)?;
        queue.send(request).await.map_err(|_| stopped())?;
        Ok(answer)
    }
}

/// Where the answer to a write arrives.
pub(super) type Answer<T> = oneshot::Receiver<Result<T, StoreError>>;

fn stopped() -> StoreError {
    StoreError::Unavailable {
        message: "its writer has stopped".to_owned(),
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        drop(self.queue.take());
        let ended = self.thread.take().map(JoinHandle::join);
        if let Some(Err(_)) = ended {
            tracing::error!("the writer of the state database panicked");
        }
    }
}

/// A write that waits for its turn.
trait Request: Send {
    /// Does the work. May be called again after its transaction was rolled back.
    fn run(&mut self, db: &Connection, disk: &Disk) -> Ran;
    /// Tells the caller what the last run gave.
    fn answer(self: Box<Self>);
    /// Tells the caller that nothing was written.
    fn refuse(self: Box<Self>, outage: Outage);
}

/// How a run went.
enum Ran {
    /// What it wrote is to be kept.
    Well,
    /// What it wrote is to be undone.
    Refused,
    /// The database failed under it.
    Broken(Outage),
}

struct Write<T, F> {
    work: F,
    result: Option<Result<T, StoreError>>,
    reply: oneshot::Sender<Result<T, StoreError>>,
}

impl<T, F> Request for Write<T, F>
where
    T: Send,
    F: Fn(&Connection) -> Result<T, Failure> + Send,
{
    fn run(&mut self, db: &Connection, disk: &Disk) -> Ran {
        let (result, ran) = match (self.work)(db) {
            Ok(value) => (Ok(value), Ran::Well),
            Err(Failure::Refused(error)) => (Err(error), Ran::Refused),
            Err(Failure::Sqlite(error)) => {
                let outage = Outage::of(&error, disk);
                (Err(outage.clone().into()), Ran::Broken(outage))
            }
        };
        self.result = Some(result);
        ran
    }

    fn answer(self: Box<Self>) {
        let never_ran = || StoreError::Unavailable {
            message: "a write was not run".to_owned(),
        };
        let result = self.result.unwrap_or_else(|| Err(never_ran()));
        // Nobody listens when the caller has gone away; the write stands all the same.
        let _unheard = self.reply.send(result);
    }

    fn refuse(self: Box<Self>, outage: Outage) {
        // As above.
        let _unheard = self.reply.send(Err(outage.into()));
    }
}

/// Waits for a request and takes those that have gathered behind it; `None` once the store is being dropped.
fn next_group(requests: &mut mpsc::Receiver<Box<dyn Request>>) -> Option<Vec<Box<dyn Request>>> {
    let mut group = vec![requests.blocking_recv()?];
    while group.len() < GROUP_MAX {
        match requests.try_recv() {
            Ok(request) => group.push(request),
            Err(_) => break,
        }
    }
    Some(group)
}

/// Writes a group in one transaction. When that fails as a whole, each request gets a transaction of its own, so that one
/// too large for the disk does not fail its neighbours.
fn write_group(db: &Connection, disk: &Disk, mut group: Vec<Box<dyn Request>>) {
    match (transact(db, disk, &mut group), group.len()) {
        (Ok(()), _) => group.into_iter().for_each(|request| request.answer()),
        (Err(outage), 1) => group
            .into_iter()
            .for_each(|request| request.refuse(outage.clone())),
        (Err(outage), requests) => {
            tracing::warn!(
                ?outage,
                requests,
                "a group of writes failed; trying each alone"
            );
            for request in group {
                write_group(db, disk, vec![request]);
            }
        }
    }
}

fn transact(db: &Connection, disk: &Disk, group: &mut [Box<dyn Request>]) -> Result<(), Outage> {
    let result = run_all(db, disk, group);
    if let Err(outage) = &result {
        tracing::warn!(?outage, "a transaction of the state database failed");
        // SQLite may have rolled back by itself; asking twice is an error that says nothing.
        if !db.is_autocommit()
            && let Err(error) = db.execute_batch("ROLLBACK")
        {
            tracing::error!(%error, "the state database could not roll back");
        }
    }
    result
}

fn run_all(db: &Connection, disk: &Disk, group: &mut [Box<dyn Request>]) -> Result<(), Outage> {
    let command = |sql: &str| {
        let done = db
            .prepare_cached(sql)
            .and_then(|mut statement| statement.execute([]));
        done.map(drop).map_err(|error| Outage::of(&error, disk))
    };
    command("BEGIN IMMEDIATE")?;
    for request in group {
        command("SAVEPOINT request")?;
        let ran = request.run(db, disk);
        match ran {
            Ran::Broken(outage) if db.is_autocommit() => return Err(outage),
            Ran::Well => {}
            Ran::Refused | Ran::Broken(_) => command("ROLLBACK TO request")?,
        }
        command("RELEASE request")?;
    }
    command("COMMIT")
}
