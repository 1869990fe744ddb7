//! The two error types every room shares: the boxed alias and the opaque store error.

mod store;

pub use store::{StoreError, StoreErrorKind};

/// The error type of every service in this crate, as in `tower`.
///
/// An error of the inner service passes through untouched; our own failures are small public
/// structs that [`downcast_ref`](std::error::Error#method.downcast_ref) finds:
///
/// ```
/// use tower_inbox::{BoxError, inbox::InFlight};
///
/// fn acknowledge(error: &BoxError) -> bool {
///     // Somebody else is at work on this message: leave it with the broker.
///     !error.is::<InFlight>()
/// }
/// # assert!(!acknowledge(&InFlight::new().into()));
/// ```
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;
