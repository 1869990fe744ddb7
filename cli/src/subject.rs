use std::{
    fs::File,
    io::{self, BufReader, IsTerminal, Read},
    path::Path,
    sync::Arc,
};

use tower_inbox::{
    inbox::store::{Explanation, InboxAdmin, InboxStore},
    key::{Canonical, InboxKey, KeyHasher, Xxh64Keyed, json::JsonFields, probe},
    lines::LineReader,
};

use crate::{
    args::{ConsumeArgs, SubjectArgs},
    error::Failure,
};

/// Which message of which consumer a verb is about.
pub(crate) struct Subject {
    pub(crate) consumer: Arc<str>,
    message: Message,
}

enum Message {
    Key(InboxKey),
    /// The secret of the database makes a key of it.
    Canonical(Canonical),
}

impl Subject {
    /// Takes each value from the flags, else from what the config file says about consuming.
    pub(crate) fn new(args: SubjectArgs, file: ConsumeArgs) -> Result<Self, Failure> {
        let consumer = consumer(args.consumer, &file)?;
        if let Some(text) = args.key_value {
            if args.message.is_some() {
                return Err(Failure::usage("--key-value and --message are two messages")
                    .advice("give one of them"));
            }
            return Ok(Self { consumer, message: Message::Key(parse_key(&text)?) });
        }
        let fields = args.key.or(file.key).ok_or_else(|| {
            Failure::usage("which message?").advice(
                "give its key with --key-value UUID, or the message itself on standard input or \
                 with --message FILE, and --key FIELDS as for `consume`",
            )
        })?;
        let fields: JsonFields = fields
            .parse()
            .map_err(|error| Failure::usage(format!("--key {fields:?}")).because(error))?;
        let kind = args.kind.or(file.kind).unwrap_or_default();
        let text = read(args.message.as_deref())?;
        let canonical = fields
            .encode(&kind, &text)
            .map_err(|error| Failure::usage("the message has no key").because(error))?;
        if canonical.is_absent() {
            return Err(Failure::usage("the message has no key: every key field is missing in it"));
        }
        Ok(Self { consumer, message: Message::Canonical(canonical) })
    }

    /// Finds the key, and what is known of the message.
    pub(crate) async fn explain<B: InboxStore + InboxAdmin>(
        &self,
        store: &B,
    ) -> Result<Explanation, Failure> {
        let (key, ours) = match &self.message {
            Message::Key(key) => (*key, None),
            Message::Canonical(canonical) => {
                let secret = store.meta().await?.secret;
                let key = Xxh64Keyed.key(canonical.as_bytes(), &secret);
                (key, Some(probe(&Xxh64Keyed, &secret)))
            }
        };
        let explanation = store.explain(Arc::clone(&self.consumer), key).await?;
        if ours.is_some_and(|ours| ours != explanation.key_probe) {
            return Err(Failure::usage(format!(
                "the keys of the consumer {:?} are made with another hash function or a secret of \
                 its own, so the key of this message is not known here",
                self.consumer
            ))
            .advice("give the key with --key-value; the program that consumes knows it"));
        }
        Ok(explanation)
    }
}

/// The consumer of a flag or its variable, else of the config file, else the default one.
pub(crate) fn consumer(flag: Option<String>, file: &ConsumeArgs) -> Result<Arc<str>, Failure> {
    let name = flag.as_deref().or(file.consumer.as_deref()).unwrap_or("default");
    if name.is_empty() || name.contains('\0') {
        return Err(Failure::usage("--consumer needs a name"));
    }
    Ok(name.into())
}

pub(crate) fn parse_key(text: &str) -> Result<InboxKey, Failure> {
    text.parse().map_err(|error| Failure::usage(format!("{text:?} is no key")).because(error))
}

/// Who does it, for the audit: as they say, else the user of the system.
pub(crate) fn actor(flag: Option<String>) -> Arc<str> {
    let user = || ["USER", "LOGNAME"].into_iter().find_map(|name| std::env::var(name).ok());
    let actor = flag.or_else(user).filter(|actor| !actor.is_empty());
    actor.unwrap_or_else(|| "unknown".into()).replace('\0', "\u{fffd}").into()
}

/// The one message of a file or of standard input, as `consume` reads a line.
fn read(path: Option<&Path>) -> Result<String, Failure> {
    let stream: Box<dyn Read> = match path {
        Some(path) if path != Path::new("-") => {
            let file = File::open(path).map_err(|error| {
                Failure::usage(format!("could not open {}", path.display())).because(error)
            })?;
            Box::new(file)
        }
        _ if io::stdin().is_terminal() => {
            return Err(Failure::usage("there is no message").advice(
                "send it to standard input, name a file with --message, or give its key with \
                 --key-value",
            ));
        }
        _ => Box::new(io::stdin()),
    };
    let mut lines = LineReader::new(BufReader::new(stream));
    let line = lines
        .next()
        .transpose()
        .map_err(|error| Failure::stopped("could not read the message").because(error))?
        .ok_or_else(|| Failure::usage("there is no message: the input is empty"))?
        .map_err(|bad| Failure::usage(format!("the message is of no use: {}", bad.reason)))?;
    if lines.next().is_some() {
        return Err(
            Failure::usage("there is more than one message").advice("give one, on one line")
        );
    }
    Ok(line.text)
}
