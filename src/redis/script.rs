use redis::{Cmd, ErrorKind, ServerErrorKind, Value, cmd};

use super::{Failure, Link};

/// A Lua script, known to the server by its digest.
#[derive(Debug)]
pub(crate) struct Script {
    text: String,
    digest: String,
}

/// The arguments of one call, collected so that they can be sent again with the whole text.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    key: String,
    arguments: Vec<u8>,
    ends: Vec<usize>,
}

impl Script {
    pub(crate) fn new(text: String) -> Self {
        let digest = redis::Script::new(&text).get_hash().to_owned();
        Self { text, digest }
    }

    /// Runs it. A server that does not know it yet is sent the text, and nothing has happened before.
    pub(crate) async fn run(&self, link: &Link, call: &Call) -> Result<Value, Failure> {
        let by_digest = call.command("EVALSHA", &self.digest);
        match link.ask(&by_digest).await {
            Err(failure) if failure.is_unknown_script() => {
                link.ask(&call.command("EVAL", &self.text)).await
            }
            answer => answer,
        }
        .inspect(|answer| link.count(call.size(), size(answer)))
    }
}

impl Call {
    pub(crate) fn new(key: String, expected: usize) -> Self {
        Self {
            key,
            arguments: Vec::with_capacity(expected * USUAL),
            ends: Vec::with_capacity(expected),
        }
    }

    pub(crate) fn bytes(&mut self, argument: &[u8]) -> &mut Self {
        self.arguments.extend_from_slice(argument);
        self.ends.push(self.arguments.len());
        self
    }

    pub(crate) fn text(&mut self, argument: impl std::fmt::Display) -> &mut Self {
        use std::io::Write;
        write!(self.arguments, "{argument}").expect("memory takes what is written");
        self.ends.push(self.arguments.len());
        self
    }

    fn command(&self, name: &str, script: &str) -> Cmd {
        let mut command = cmd(name);
        command.arg(script).arg(1).arg(&self.key);
        let mut start = 0;
        for end in &self.ends {
            command.arg(&self.arguments[start..*end]);
            start = *end;
        }
        command
    }

    fn size(&self) -> usize {
        // The digest, its own name, and what the protocol puts around each.
        DIGEST + self.key.len() + self.arguments.len() + self.ends.len() * FRAME
    }
}

impl Failure {
    fn is_unknown_script(&self) -> bool {
        use std::error::Error;
        self.source()
            .and_then(|error| error.downcast_ref::<redis::RedisError>())
            .is_some_and(|error| error.kind() == ErrorKind::Server(ServerErrorKind::NoScript))
    }
}

fn size(answer: &Value) -> usize {
    FRAME
        + match answer {
            Value::BulkString(bytes) => bytes.len(),
            Value::Array(values) => values.iter().map(size).sum(),
            _ => 0,
        }
}

const USUAL: usize = 20;
const DIGEST: usize = 60;
const FRAME: usize = 7;
