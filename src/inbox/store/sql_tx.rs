use sqlx::{Connection, Database, pool::PoolConnection};
use sqlx_core::{sql_str::SqlStr, transaction::TransactionManager};

use super::shelf::WayBack;

/// What sqlx's driver does when the future of a begin or a commit is dropped.
pub(super) trait Driver: Database {
    /// Whether it no longer knows if a transaction is open.
    const LOSES_TRACK: bool;

    /// Queues a plain rollback, for a transaction that the driver does not count.
    fn queue_rollback(connection: &mut Self::Connection);

    /// Sends what is queued without waiting for the answer, if the pool may be late in doing so.
    fn send_queued(connection: &mut Self::Connection);

    /// Begins while the driver counts a transaction that has ended; it counts the new one in its
    /// place.
    fn begin_in_place(
        connection: &mut Self::Connection,
        statement: SqlStr,
    ) -> impl Future<Output = Result<(), sqlx::Error>> + Send;

    /// Makes the driver count none, where it counts a transaction that has ended.
    fn count_none(connection: &mut Self::Connection);
}

/// A connection without a transaction, on its way from one delivery to the next. The driver may count
/// a transaction that has ended; who gets the connection from its pool shall not meet that.
pub(super) struct Spare<DB: Driver>(Option<PoolConnection<DB>>);

impl<DB: Driver> Spare<DB> {
    fn into_inner(mut self) -> Option<PoolConnection<DB>> {
        self.0.take()
    }
}

impl<DB: Driver> Drop for Spare<DB> {
    fn drop(&mut self) {
        if let Some(connection) = &mut self.0 {
            DB::count_none(connection);
        }
    }
}

/// A pooled connection with a transaction that begins, is open, or ends.
///
/// sqlx 0.9.0 hands a connection back to its pool with a transaction open when the future of
/// `begin` is dropped (launchbadge/sqlx#4385). Whoever gets it next writes into that transaction,
/// is told `Ok`, and loses the write. So while a begin or a commit is under way, dropping this closes
/// the connection of a driver that loses track; while the transaction is known to be open, dropping it rolls back.
pub(super) struct Held<DB: Driver> {
    connection: Option<PoolConnection<DB>>,
    phase: Phase,
    way_back: Option<WayBack<DB>>,
    /// Whether it comes from another delivery, and nobody has asked it since if it is alive.
    kept: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// No transaction; the connection is clean.
    Idle,
    /// The server may or may not have a transaction open.
    Unknown,
    /// A transaction is open.
    Open,
    /// No transaction, and nothing is known against the session. The driver may count one.
    Clean,
    /// The driver's idea of the session and the session differ, or it is gone.
    Broken,
}

impl<DB: Driver> Held<DB> {
    pub(super) fn new(connection: PoolConnection<DB>) -> Self {
        Self { connection: Some(connection), phase: Phase::Idle, way_back: None, kept: false }
    }

    /// One that another delivery has left.
    pub(super) fn kept(spare: Spare<DB>, way_back: WayBack<DB>) -> Self {
        let (connection, way_back) = (spare.into_inner(), Some(way_back));
        Self { connection, phase: Phase::Clean, way_back, kept: true }
    }

    /// One from the pool that may be left to another delivery.
    pub(super) fn to_keep(connection: PoolConnection<DB>, way_back: WayBack<DB>) -> Self {
        let mut held = Self::new(connection);
        held.way_back = Some(way_back);
        held
    }

    /// Whether another delivery had it before, and nobody has asked it since if it is alive.
    #[cfg_attr(not(feature = "postgres"), allow(dead_code))]
    pub(super) fn was_kept(&self) -> bool {
        self.kept
    }

    /// Whether it may go to another delivery.
    #[cfg_attr(not(feature = "postgres"), allow(dead_code))]
    pub(super) fn may_be_kept(&self) -> bool {
        self.way_back.is_some()
    }

    /// Makes the connection fit. When that fails, or is dropped, it is closed.
    #[cfg_attr(not(feature = "sqlite"), allow(dead_code))]
    pub(super) async fn made_fit<F>(mut self, make_fit: F) -> Result<Self, sqlx::Error>
    where
        F: AsyncFnOnce(&mut DB::Connection) -> Result<(), sqlx::Error>,
    {
        self.phase = Phase::Broken;
        make_fit(self.connection_mut()).await?;
        self.phase = Phase::Idle;
        Ok(self)
    }

    /// Begins with a statement that leaves no transaction behind when the database refuses it.
    pub(super) async fn begin(&mut self, statement: SqlStr) -> Result<(), sqlx::Error> {
        self.phase = Phase::Unknown;
        let counted = self.depth() > 0;
        let connection = self.connection_mut();
        let begun = if counted {
            DB::begin_in_place(connection, statement).await
        } else {
            DB::TransactionManager::begin(connection, Some(statement)).await
        };
        match &begun {
            Ok(()) => self.phase = Phase::Open,
            // sqlx has read the refusal, and not yet that the session is ready again. Whatever is
            // sent before that is a second query under way. If this connection is then lost, a
            // PgBouncer that has seen the end of the first takes the session for idle, and gives the
            // answer to the second to whoever comes next: another message's duplicate.
            Err(sqlx::Error::Database(_)) => {
                self.connection_mut().flush().await?;
                self.phase = Phase::Idle;
            }
            Err(_) => {}
        }
        begun
    }

    /// Lets go of a session without a transaction, which did what was asked of it.
    #[cfg_attr(not(feature = "postgres"), allow(dead_code))]
    pub(super) fn done(mut self) {
        self.phase = Phase::Clean;
    }

    /// Closes the connection: its session is in a state that is not ours to mend.
    #[cfg_attr(not(feature = "postgres"), allow(dead_code))]
    pub(super) fn discard(mut self) {
        self.phase = Phase::Broken;
    }

    /// Depth 1 is the transaction that we began; anything else is a savepoint that was leaked, or a
    /// transaction that was ended behind our back.
    pub(super) fn depth(&self) -> usize {
        DB::TransactionManager::get_transaction_depth(self.connection())
    }

    /// Runs what ends the transaction, and then does with the connection what the driver says about
    /// the result. When it is dropped before its end, the connection counts as unknown.
    pub(super) async fn end<F>(mut self, end: F) -> Result<(), sqlx::Error>
    where
        F: AsyncFnOnce(&mut DB::Connection) -> (Result<(), sqlx::Error>, After),
    {
        self.phase = Phase::Unknown;
        let (ended, after) = end(self.connection_mut()).await;
        self.phase = match after {
            After::Keep => Phase::Clean,
            After::RollBack => Phase::Open,
            After::Close => Phase::Broken,
        };
        ended
    }

    pub(super) fn connection(&self) -> &DB::Connection {
        self.connection.as_ref().expect("the connection is only taken by drop")
    }

    pub(super) fn connection_mut(&mut self) -> &mut DB::Connection {
        self.connection.as_mut().expect("the connection is only taken by drop")
    }
}

/// What the end of a transaction means for its connection.
#[derive(Clone, Copy)]
pub(super) enum After {
    /// It has none, and may serve the next delivery.
    Keep,
    /// There is one to be rolled back first.
    #[cfg_attr(not(feature = "postgres"), allow(dead_code))]
    RollBack,
    /// It is of no use to anybody.
    Close,
}

impl<DB: Driver> Drop for Held<DB> {
    fn drop(&mut self) {
        let Some(mut connection) = self.connection.take() else { return };
        match self.phase {
            Phase::Idle => drop(Spare(Some(connection))),
            Phase::Clean => {
                let spare = Spare(Some(connection));
                match self.way_back.take() {
                    Some(way_back) => way_back.put(spare),
                    None => drop(spare),
                }
            }
            Phase::Broken => connection.close_on_drop(),
            Phase::Unknown if DB::LOSES_TRACK => connection.close_on_drop(),
            Phase::Unknown | Phase::Open => {
                // Queued here, and run before anybody else gets the connection. One for each
                // savepoint that the handler leaked, and one for the transaction.
                // One more, because sqlx's SQLite worker ignores the first after an end that nobody
                // heard of; without a transaction it does nothing.
                let depth = DB::TransactionManager::get_transaction_depth(&connection);
                for _ in 0..=depth {
                    DB::TransactionManager::start_rollback(&mut connection);
                }
                if self.phase == Phase::Unknown {
                    DB::queue_rollback(&mut connection);
                }
                DB::send_queued(&mut connection);
            }
        }
    }
}
