use std::sync::PoisonError;

use sqlx::{Row, postgres::PgRow};

use super::{
    PgBackend,
    error::{asking, nonsense, of_schema},
};
use crate::{
    events::{EventsErrorKind, backend::BackendError},
    key::Secret,
    sql::Statement,
};

/// What the namespace is called in the tables, and what its ids are signed with.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Space {
    pub(super) id: i32,
    pub(super) secret: Secret,
    pub(super) server_version: i32,
}

impl PgBackend {
    /// The namespace as it was found, or finds it.
    pub(super) async fn space(&self) -> Result<Space, BackendError> {
        let known = *self.state.space.lock().unwrap_or_else(PoisonError::into_inner);
        match known {
            Some(space) => Ok(space),
            None => self.prepared_space().await,
        }
    }

    /// Checks the version of the tables first.
    pub(super) async fn prepared_space(&self) -> Result<Space, BackendError> {
        self.schema().check().await.map_err(of_schema)?;
        self.find_space().await
    }

    /// Looks the namespace up, and makes it if it is not there.
    async fn find_space(&self) -> Result<Space, BackendError> {
        let find = Statement::new(include_str!("sql/namespace.sql")).value(&*self.namespace);
        let mut found = self.ask(&find).await?;
        if found.is_empty() {
            let make = Statement::new(include_str!("sql/new_namespace.sql"))
                .value(&*self.namespace)
                .value(self.exact);
            self.ask(&make).await?;
            // Ours, or that of another process which was faster.
            found = self.ask(&find).await?;
        }
        let row = found.first().ok_or_else(|| nonsense("no namespace"))?;
        let (space, exact) = read(row).map_err(asking)?;
        if exact != self.exact {
            let kept = if exact { "exact" } else { "compact" };
            return Err(BackendError::new(
                EventsErrorKind::Config,
                format!(
                    "the namespace {:?} keeps {kept} ids (`compress_event_ids = {}`), and this \
                     process is set to the other: all of a namespace agree",
                    self.namespace, !exact
                ),
            ));
        }
        *self.state.space.lock().unwrap_or_else(PoisonError::into_inner) = Some(space);
        Ok(space)
    }

    /// Takes note that the namespace is not there any more as it was.
    pub(super) fn forget_space(&self, space: Space) {
        let mut known = self.state.space.lock().unwrap_or_else(PoisonError::into_inner);
        if *known == Some(space) {
            *known = None;
        }
    }
}

fn read(row: &PgRow) -> Result<(Space, bool), sqlx::Error> {
    let secret: Vec<u8> = row.try_get(1)?;
    let secret = secret.try_into().map_err(|_| sqlx::Error::Decode("not sixteen bytes".into()))?;
    let secret = Secret::from_bytes(secret);
    Ok((Space { id: row.try_get(0)?, secret, server_version: row.try_get(3)? }, row.try_get(2)?))
}
