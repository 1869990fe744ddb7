use std::fmt::Write;

use super::{PgStore, error::classify, statement::Statement};
use crate::{error::StoreError, inbox::store::AgeCount};

pub(super) async fn write(store: &PgStore) -> Result<(), StoreError> {
    let counts = store.ages.take();
    if counts.is_empty() {
        return Ok(());
    }
    let written = Statement::new(include_str!("sql/write_ages.sql"))
        .value(&*array(&counts, |count| count.consumer.get().into()))
        .value(&*array(&counts, |count| count.bucket.into()))
        .value(&*array(&counts, |count| count.seen.cast_signed()))
        .execute(&store.pool)
        .await;
    if let Err(error) = written {
        store.ages.put_back(counts);
        return Err(classify(error, "could not write the ages of duplicates down"));
    }
    Ok(())
}

fn array(counts: &[AgeCount], column: impl Fn(&AgeCount) -> i64) -> String {
    let mut text = String::from("{");
    for (index, count) in counts.iter().enumerate() {
        let comma = if index > 0 { "," } else { "" };
        write!(text, "{comma}{}", column(count)).expect("a string takes everything");
    }
    text + "}"
}
