use std::{collections::BTreeSet, error::Error, fmt, sync::Arc, time::Duration};

use serde::Serialize;
use serde_json::Value;
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::EventIds;
use crate::{
    error::BoxError,
    key::{Canonical, Dedup, encode},
};

/// Says which bytes identify an event. Cheap to clone.
///
/// Two events with the same id are the same event. Each way of making an id begins with a byte of its
/// own, so a UUID and a text that happens to have its bytes do not meet.
///
/// ```
/// use tower_inbox::events::EventIdExtractor;
///
/// struct Clicked { session: String, button: u32, at: u64 }
///
/// let by_click = EventIdExtractor::composite([
///     EventIdExtractor::string(|click: &Clicked| click.session.clone()),
///     EventIdExtractor::hash(|click: &Clicked| u64::from(click.button)),
/// ]);
/// let click = Clicked { session: "a".into(), button: 7, at: 1 };
/// let again = Clicked { at: 2, ..Clicked { session: "a".into(), button: 7, at: 1 } };
/// assert_eq!(by_click.id(&click)?, by_click.id(&again)?);
/// # Ok::<(), tower_inbox::events::IdError>(())
/// ```
pub struct EventIdExtractor<T: ?Sized>(Arc<Write<T>>);

type Write<T> = dyn Fn(&T, &mut Vec<u8>) -> Result<(), IdError> + Send + Sync;

impl<T: ?Sized> EventIdExtractor<T> {
    /// The id is a UUID.
    pub fn uuid(id: impl Fn(&T) -> Uuid + Send + Sync + 'static) -> Self {
        Self::tagged(tag::UUID, move |event, bytes| {
            bytes.extend_from_slice(id(event).as_bytes());
            Ok(())
        })
    }

    /// The id is a text, byte for byte. An empty one is an error.
    pub fn string<S: AsRef<str>>(id: impl Fn(&T) -> S + Send + Sync + 'static) -> Self {
        Self::tagged(tag::TEXT, move |event, bytes| {
            let id = id(event);
            let id = id.as_ref();
            if id.is_empty() {
                return Err(IdError::Empty);
            }
            bytes.extend_from_slice(id.as_bytes());
            Ok(())
        })
    }

    /// The id is a number of 64 bits, such as a hash that the sender made.
    ///
    /// # Collisions
    ///
    /// Two events with the same number are the same event here, and the second is *lost*. Among n
    /// hashes of 64 bits in a window that happens with a chance of n² / 2⁶⁵: one in 370 000 at ten
    /// million, one in 37 at a billion. Whoever can choose what is hashed can make it happen, unless
    /// the hash is keyed. `std`'s `DefaultHasher` is not the same in every release of Rust, so a
    /// deployment with a new compiler forgets everything.
    pub fn hash(id: impl Fn(&T) -> u64 + Send + Sync + 'static) -> Self {
        Self::tagged(tag::HASH, move |event, bytes| {
            bytes.extend_from_slice(&id(event).to_be_bytes());
            Ok(())
        })
    }

    /// The id is whatever the closure appends; appending nothing is an error.
    pub fn custom<E: Into<BoxError>>(
        write: impl Fn(&T, &mut Vec<u8>) -> Result<(), E> + Send + Sync + 'static,
    ) -> Self {
        Self::tagged(tag::CUSTOM, move |event, bytes| {
            let start = bytes.len();
            write(event, bytes).map_err(|error| IdError::Custom(error.into()))?;
            if bytes.len() == start { Err(IdError::Empty) } else { Ok(()) }
        })
    }

    /// The fields that the derive was given, or that a [`Dedup`] by hand chooses.
    ///
    /// The same message has the same canonical bytes as in an
    /// [`InboxLayer`](crate::InboxLayer).
    pub fn dedup() -> Self
    where
        T: Dedup,
    {
        Self::canonical(|event: &T| Ok::<_, IdError>(encode(event)))
    }

    /// Canonical bytes that are made in another way, as by
    /// [`JsonFields`](crate::key::json::JsonFields): the same id as [`dedup`](Self::dedup) of a type with
    /// the same kind and fields.
    pub fn canonical<E: Into<BoxError>>(
        make: impl Fn(&T) -> Result<Canonical, E> + Send + Sync + 'static,
    ) -> Self {
        Self::tagged(tag::DEDUP, move |event, bytes| {
            let canonical = make(event).map_err(|error| IdError::Custom(error.into()))?;
            if canonical.is_absent() {
                return Err(IdError::Empty);
            }
            bytes.extend_from_slice(canonical.as_bytes());
            Ok(())
        })
    }

    /// Everything in the event: equal content is the same event.
    ///
    /// The id is the SHA-256 of the event as JSON with the names of each object in order. `1` and `1.0`
    /// are different content, and so are a field that is null and one that is absent.
    pub fn content() -> Self
    where
        T: Serialize,
    {
        Self::of_content(|_| Ok(()))
    }

    /// Only some fields of the event's JSON object, by name.
    ///
    /// Like [`content`](Self::content). A field that is absent is left out; if all are, the event has
    /// no id, which is an error.
    ///
    /// # Panics
    ///
    /// If no field is named.
    #[track_caller]
    pub fn content_only<S: Into<String>>(fields: impl IntoIterator<Item = S>) -> Self
    where
        T: Serialize,
    {
        let fields: BTreeSet<String> = fields.into_iter().map(Into::into).collect();
        assert!(!fields.is_empty(), "an id of no fields is the same for all events");
        Self::of_content(move |object| {
            object.retain(|(name, _)| fields.contains(name.as_str()));
            if object.is_empty() { Err(IdError::Empty) } else { Ok(()) }
        })
    }

    /// All fields of the event's JSON object but some, such as the time of sending.
    ///
    /// Like [`content`](Self::content). If nothing is left, the event has no id, which is an error.
    pub fn content_without<S: Into<String>>(fields: impl IntoIterator<Item = S>) -> Self
    where
        T: Serialize,
    {
        let fields: BTreeSet<String> = fields.into_iter().map(Into::into).collect();
        Self::of_content(move |object| {
            object.retain(|(name, _)| !fields.contains(name.as_str()));
            if object.is_empty() { Err(IdError::Empty) } else { Ok(()) }
        })
    }

    /// Several ids together; no two different lists of them are the same.
    ///
    /// # Panics
    ///
    /// If there are none.
    #[track_caller]
    pub fn composite(parts: impl IntoIterator<Item = Self>) -> Self
    where
        T: 'static,
    {
        let parts: Vec<Self> = parts.into_iter().collect();
        assert!(!parts.is_empty(), "an id of no parts is the same for all events");
        Self::tagged(tag::COMPOSITE, move |event, bytes| {
            for part in &parts {
                let start = bytes.len();
                bytes.extend_from_slice(&[0; 4]);
                (part.0)(event, bytes)?;
                let length = bytes.len() - start - 4;
                let length = u32::try_from(length)
                    .map_err(|_| IdError::TooLong { size: length, limit: u32::MAX as usize })?;
                bytes[start..start + 4].copy_from_slice(&length.to_be_bytes());
            }
            Ok(())
        })
    }

    /// An id that is new in each span of time: the same event counts again in the next one.
    ///
    /// `time` gives the event's own time, since whenever. Unlike a window, the spans have fixed limits,
    /// and two events a moment apart may fall into two of them.
    ///
    /// # Panics
    ///
    /// If the span is zero.
    #[track_caller]
    pub fn time_bucketed(
        self,
        span: Duration,
        time: impl Fn(&T) -> Duration + Send + Sync + 'static,
    ) -> Self
    where
        T: 'static,
    {
        assert!(!span.is_zero(), "a span of no time holds no event");
        Self::tagged(tag::TIME_BUCKET, move |event, bytes| {
            let bucket = time(event).as_nanos() / span.as_nanos();
            bytes.extend_from_slice(&bucket.to_be_bytes());
            (self.0)(event, bytes)
        })
    }

    /// The id of one event, for those who want to look.
    ///
    /// # Errors
    ///
    /// The event has none.
    pub fn id(&self, event: &T) -> Result<Vec<u8>, IdError> {
        let mut bytes = Vec::new();
        (self.0)(event, &mut bytes)?;
        Ok(bytes)
    }

    /// Appends the id of an event.
    pub(super) fn extract(
        &self,
        event: &T,
        ids: &mut EventIds,
        limit: usize,
    ) -> Result<(), IdError> {
        ids.write(|bytes, start| {
            (self.0)(event, bytes)?;
            let size = bytes.len() - start;
            if size > limit { Err(IdError::TooLong { size, limit }) } else { Ok(()) }
        })
    }

    fn tagged(
        tag: u8,
        write: impl Fn(&T, &mut Vec<u8>) -> Result<(), IdError> + Send + Sync + 'static,
    ) -> Self {
        Self(Arc::new(move |event, bytes| {
            bytes.push(tag);
            write(event, bytes)
        }))
    }

    fn of_content(
        choose: impl Fn(&mut Vec<(&String, &Value)>) -> Result<(), IdError> + Send + Sync + 'static,
    ) -> Self
    where
        T: Serialize,
    {
        Self::tagged(tag::CONTENT, move |event, bytes| {
            let value = serde_json::to_value(event).map_err(IdError::Content)?;
            let mut text = String::new();
            match &value {
                Value::Object(object) => {
                    let mut fields: Vec<_> = object.iter().collect();
                    choose(&mut fields)?;
                    write_object(fields, &mut text);
                }
                value => {
                    choose(&mut vec![(&String::new(), value)])?;
                    write_value(value, &mut text);
                }
            }
            bytes.extend_from_slice(&Sha256::digest(text.as_bytes()));
            Ok(())
        })
    }
}

/// JSON with the names of each object in order, whatever order the map of `serde_json` keeps here.
fn write_value(value: &Value, text: &mut String) {
    match value {
        Value::Array(items) => {
            text.push('[');
            for (at, item) in items.iter().enumerate() {
                if at > 0 {
                    text.push(',');
                }
                write_value(item, text);
            }
            text.push(']');
        }
        Value::Object(object) => write_object(object.iter().collect(), text),
        plain => *text += &plain.to_string(),
    }
}

fn write_object(mut fields: Vec<(&String, &Value)>, text: &mut String) {
    fields.sort_unstable_by_key(|(name, _)| *name);
    text.push('{');
    for (at, (name, value)) in fields.into_iter().enumerate() {
        if at > 0 {
            text.push(',');
        }
        *text += &Value::from(name.as_str()).to_string();
        text.push(':');
        write_value(value, text);
    }
    text.push('}');
}

impl<T: ?Sized> Clone for EventIdExtractor<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T: ?Sized> fmt::Debug for EventIdExtractor<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventIdExtractor").finish_non_exhaustive()
    }
}

/// Why an event has no usable id.
#[derive(Debug)]
#[non_exhaustive]
pub enum IdError {
    /// It is empty, or all its fields are none.
    Empty,
    /// It is longer than the configuration allows.
    TooLong {
        /// Its bytes.
        size: usize,
        /// How many are allowed.
        limit: usize,
    },
    /// The event cannot be written as JSON.
    Content(serde_json::Error),
    /// What the closure said.
    Custom(BoxError),
}

impl fmt::Display for IdError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str(
                "the id is empty, and all events without one would be duplicates of each other",
            ),
            Self::TooLong { size, limit } => write!(
                f,
                "the id has {size} bytes and the limit is {limit}: raise `max_id_bytes`, or take the \
                 content hash as the id"
            ),
            Self::Content(_) => f.write_str("the event cannot be written as JSON"),
            Self::Custom(_) => f.write_str("the id could not be made"),
        }
    }
}

impl Error for IdError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Content(error) => Some(error),
            Self::Custom(error) => Some(&**error),
            _ => None,
        }
    }
}

/// The first byte of an id. What is stored depends on it, so it never changes.
mod tag {
    pub(super) const UUID: u8 = b'u';
    pub(super) const TEXT: u8 = b's';
    pub(super) const HASH: u8 = b'h';
    pub(super) const CUSTOM: u8 = b'c';
    pub(super) const DEDUP: u8 = b'd';
    pub(super) const CONTENT: u8 = b'j';
    pub(super) const COMPOSITE: u8 = b'm';
    pub(super) const TIME_BUCKET: u8 = b't';
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    type Json = EventIdExtractor<Value>;

    #[test]
    fn ids_are_pinned() {
        let text = EventIdExtractor::string(|text: &str| text.to_owned());
        assert_eq!(text.id("abc").unwrap(), b"sabc");
        let number = EventIdExtractor::hash(|number: &u64| *number);
        assert_eq!(number.id(&258).unwrap(), b"h\0\0\0\0\0\0\x01\x02");
        let both = EventIdExtractor::composite([number.clone(), number.clone()]);
        assert_eq!(
            both.id(&1).unwrap(),
            b"m\0\0\0\x09h\0\0\0\0\0\0\0\x01\0\0\0\x09h\0\0\0\0\0\0\0\x01"
        );
        let uuid = EventIdExtractor::uuid(|id: &Uuid| *id);
        assert_eq!(
            uuid.id(&Uuid::from_bytes([7; 16])).unwrap(),
            b"u\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07"
        );
        let hourly = number.time_bucketed(Duration::from_secs(3600), |n| Duration::from_secs(*n));
        assert_eq!(hourly.id(&7200).unwrap()[..17], *b"t\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x02");
        let content =
            Json::content().id(&json!({"b": [1, {"d": null, "c": "x"}], "a": 1.5})).unwrap();
        let expected = Sha256::digest(br#"{"a":1.5,"b":[1,{"c":"x","d":null}]}"#);
        assert_eq!(content[1..], expected[..]);
    }

    #[test]
    fn the_fields_of_a_type_and_of_json_are_the_same() {
        struct Paid(u64);
        impl Dedup for Paid {
            fn kind(&self) -> &str {
                "Paid"
            }

            fn encode_fields(&self, encoder: &mut crate::key::KeyEncoder) {
                encoder.field(&self.0);
            }
        }
        let fields: crate::key::json::JsonFields = "id?".parse().unwrap();
        let by_json = EventIdExtractor::canonical(move |line: &str| fields.encode("Paid", line));
        let typed = EventIdExtractor::dedup().id(&Paid(7)).unwrap();
        assert_eq!(by_json.id(r#"{"id": 7, "at": 1}"#).unwrap(), typed);
        assert!(matches!(by_json.id("{}"), Err(IdError::Empty)));
        assert!(matches!(by_json.id("nonsense"), Err(IdError::Custom(_))));
    }

    #[test]
    fn content_can_be_chosen() {
        let (one, other) = (json!({"id": 1, "at": 5}), json!({"at": 6, "id": 1}));
        let same = |by: &Json| by.id(&one).unwrap() == by.id(&other).unwrap();
        assert!(!same(&Json::content()));
        assert!(same(&Json::content_only(["id"])));
        assert!(same(&Json::content_without(["at"])));
        assert!(!same(&Json::content_only(["at"])));
        assert!(matches!(Json::content_only(["gone"]).id(&one), Err(IdError::Empty)));
        assert!(matches!(Json::content_without(["id", "at"]).id(&one), Err(IdError::Empty)));
    }

    #[test]
    fn empty_and_failing_ids_are_errors() {
        let text = EventIdExtractor::string(|text: &str| text.to_owned());
        assert!(matches!(text.id(""), Err(IdError::Empty)));
        let nothing = EventIdExtractor::custom(|(): &(), _| Ok::<_, BoxError>(()));
        assert!(matches!(nothing.id(&()), Err(IdError::Empty)));
        let broken = EventIdExtractor::custom(|(): &(), _| Err::<(), BoxError>("no".into()));
        assert!(matches!(broken.id(&()), Err(IdError::Custom(_))));
    }

    #[test]
    fn a_long_id_is_refused_and_leaves_nothing() {
        let text = EventIdExtractor::string(|text: &str| text.to_owned());
        let mut ids = EventIds::new();
        let error = text.extract("12345", &mut ids, 5).unwrap_err();
        assert!(error.to_string().contains("has 6 bytes and the limit is 5"), "{error}");
        assert!(ids.is_empty());
        text.extract("1234", &mut ids, 5).unwrap();
        assert_eq!(ids.len(), 1);
    }

    #[test]
    fn parts_do_not_run_into_each_other() {
        type Pair = (&'static str, &'static str);
        let pair = EventIdExtractor::composite([
            EventIdExtractor::string(|(a, _): &Pair| *a),
            EventIdExtractor::string(|(_, b): &Pair| *b),
        ]);
        assert_ne!(pair.id(&("ab", "c")).unwrap(), pair.id(&("a", "bc")).unwrap());
    }
}
