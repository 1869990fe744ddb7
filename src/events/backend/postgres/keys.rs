use sqlx::Row;
use uuid::Uuid;

use super::{
    PgBackend,
    error::{asking, nonsense},
    namespace::Space,
};
use crate::{
    events::{EventIds, EventsErrorKind, Signature, backend::BackendError},
    sql::{Statement, Value},
};

/// Some ids of a batch, as the tables know them.
pub(super) struct Keys<'a> {
    pub(super) space: Space,
    signatures: Vec<Uuid>,
    exact: Vec<&'a [u8]>,
}

impl<'a> Keys<'a> {
    fn of(ids: &'a EventIds, places: &[usize], space: Space, exact: bool) -> Self {
        let ids = || places.iter().map(|place| ids.get(*place));
        let sign = |id| Uuid::from_bytes(Signature::of(id, &space.secret).to_bytes());
        let exact = if exact { ids().collect() } else { Vec::new() };
        Self { space, signatures: ids().map(sign).collect(), exact }
    }

    /// Begins a statement about them: $1 and $2 are the namespace, $3 the ids.
    pub(super) fn statement(&self, text: &'static str) -> Statement {
        Statement::new(text)
            .value(self.space.id)
            .value(Some(&self.space.secret.as_bytes()[..]))
            .value(&*self.signatures)
    }

    /// The ids themselves, none where signatures stand for them.
    pub(super) fn exact(&self) -> Value {
        Value::hex_list(self.exact.iter().copied())
    }
}

impl PgBackend {
    /// Asks about some ids of a batch; the answer has something for each, in order.
    pub(super) async fn ask_about(
        &self,
        ids: &EventIds,
        places: &[usize],
        statement: &(dyn Fn(&Keys<'_>) -> Statement + Sync),
    ) -> Result<String, BackendError> {
        for _ in 0..MAX_TRIES {
            let space = self.space().await?;
            let statement = statement(&Keys::of(ids, places, space, self.exact));
            let rows = self.ask(&statement).await?;
            let row = rows.first().ok_or_else(|| nonsense("nothing"))?;
            match row.try_get::<Option<String>, _>(0).map_err(asking)? {
                Some(letters) if letters.contains(COLLISION) => {
                    let text = "two ids have one signature, and neither was taken for the other";
                    return Err(BackendError::new(EventsErrorKind::Other, text));
                }
                Some(letters) => return Ok(letters),
                None => self.forget_space(space),
            }
        }
        Err(BackendError::new(EventsErrorKind::Busy, "the namespace is cleared all the time"))
    }

    /// Asks what is answered with yes or no for each id.
    pub(super) async fn ask_yes_or_no(
        &self,
        ids: &EventIds,
        places: &[usize],
        statement: &(dyn Fn(&Keys<'_>) -> Statement + Sync),
    ) -> Result<Vec<bool>, BackendError> {
        let letters = self.ask_about(ids, places, statement).await?;
        if letters.len() != places.len() || letters.contains(|letter| !matches!(letter, '0' | '1'))
        {
            return Err(nonsense("other letters than it was asked for"));
        }
        Ok(letters.bytes().map(|letter| letter == b'1').collect())
    }
}

const COLLISION: char = 'x';
const MAX_TRIES: u32 = 5;
