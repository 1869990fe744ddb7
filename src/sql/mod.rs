//! A statement for PostgreSQL that is one message, values and all.

mod statement;
mod value;

pub(crate) use statement::Statement;
pub(crate) use value::Value;
