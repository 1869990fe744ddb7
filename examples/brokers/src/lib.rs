//! What the examples share: an order, the handler that books it, and what the broker is told.
//!
//! Each example is a program of its own in `src/bin`; `publish` lets it send orders, some of them
//! twice, and `consume` books each of them once. Consumers may be killed and started again at any
//! moment, several may run at once. `docs/brokers.md` has the settings of each broker.

use std::{env, str::FromStr};

use tower_inbox::BoxError;

mod answer;
mod billing;
mod order;

pub use answer::{Answer, deliver, deliver_json};
pub use billing::{CONCURRENCY, billing, book};
pub use order::{OrderPlaced, deliveries};

/// What an example is asked to do.
#[derive(Debug, Clone, Copy)]
pub enum Task {
    /// `publish COUNT`: so many orders.
    Publish(u32),
    /// `consume`, until it is killed.
    Consume,
}

impl Task {
    /// Reads the arguments of the program.
    ///
    /// # Errors
    ///
    /// When they are neither of the two.
    pub fn from_args() -> Result<Self, BoxError> {
        let args: Vec<String> = env::args().skip(1).collect();
        match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
            ["publish", count] => Ok(Self::Publish(count.parse()?)),
            ["consume"] => Ok(Self::Consume),
            _ => Err("usage: publish COUNT | consume".into()),
        }
    }
}

/// A setting from the environment, or its default.
///
/// # Errors
///
/// When the variable holds something else.
pub fn setting<T>(variable: &str, default: T) -> Result<T, BoxError>
where
    T: FromStr<Err: Into<BoxError>>,
{
    match env::var(variable) {
        Ok(value) => value.parse().map_err(Into::into),
        Err(_) => Ok(default),
    }
}
