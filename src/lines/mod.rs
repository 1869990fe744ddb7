//! Newline-delimited JSON with positions, and a file for the lines that are of no use.
//!
//! A [`LineReader`] numbers the lines of a stream and gives each one as text, or says why it is not
//! one; a bad line never ends the stream. [`DeadLetters`] keeps what could not be used, with its
//! number and the reason, so that nothing is lost silently.
//!
//! ```
//! use tower_inbox::lines::{DeadLetters, LineReader};
//!
//! # let folder = tempfile::tempdir()?;
//! # let path = folder.path().join("orders.dead.ndjson");
//! let stream: &[u8] = b"{\"order_id\":1}\n\n\xff\n{\"order_id\":2}";
//! let mut dead_letters = DeadLetters::create(&path)?;
//! let mut orders = Vec::new();
//! for line in LineReader::new(stream) {
//!     match line? {
//!         Ok(line) => orders.push(line.number),
//!         Err(bad) => dead_letters.push(&bad)?,
//!     }
//! }
//! dead_letters.sync()?;
//!
//! assert_eq!(orders, [1, 4]);
//! assert_eq!(dead_letters.count(), 1);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod dead_letters;
mod line;
mod reader;

pub use dead_letters::DeadLetters;
pub use line::{BadLine, Line};
pub use reader::LineReader;
