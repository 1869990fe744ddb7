use std::{
    future::pending,
    io,
    os::fd::AsFd,
    process::{ExitStatus, Stdio},
    sync::Arc,
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::{
    io::AsyncWriteExt,
    process::{Child, ChildStdin, Command},
    time::sleep,
};
use tower_inbox::{
    BoxError,
    inbox::{Lease, LeaseLost, Leased},
};

use super::{Message, verdict::Refused};

/// Runs the command for a message, with the line on its standard input.
///
/// The lease is renewed for as long as the command runs. When this is dropped, or the lease is lost
/// all the same, the command and what it started are killed.
pub(super) async fn handle(
    command: Arc<str>,
    length: Duration,
    leased: Leased<Arc<Message>>,
) -> Result<(), BoxError> {
    let (message, lease) = leased.into_parts();
    let lease = lease.expect("a line without a key is a dead letter");
    let mut child = start(&command, &message, &lease)?;
    let group = Group::of(&child);
    let stdin = child.stdin.take();
    let status = tokio::select! {
        status = child.wait() => status?,
        error = feed(stdin, &message.text) => return Err(error.into()),
        lost = renew(&lease, length) => return Err(lost.into()),
    };
    group.ended();
    if status.success() { Ok(()) } else { Err(Refused(describe(status)).into()) }
}

fn start(command: &str, message: &Message, lease: &Lease) -> io::Result<Child> {
    // Our standard output is for the report.
    let stdout = io::stderr().as_fd().try_clone_to_owned()?;
    Command::new("sh")
        .arg("-c")
        .arg(command)
        .env("TOWER_INBOX_MESSAGE_KEY", lease.key().to_string())
        .env("TOWER_INBOX_TOKEN", lease.token().to_string())
        .env("TOWER_INBOX_ATTEMPT", lease.attempt().to_string())
        .env("TOWER_INBOX_LINE", message.number.to_string())
        .stdin(Stdio::piped())
        .stdout(stdout)
        // A Ctrl-C is for us: the message under way is finished.
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
}

/// Writes the line. Resolves only if that fails for another reason than that the command does not
/// want it.
async fn feed(stdin: Option<ChildStdin>, line: &str) -> io::Error {
    if let Some(mut stdin) = stdin {
        let write = async {
            stdin.write_all(line.as_bytes()).await?;
            stdin.write_all(b"\n").await?;
            stdin.shutdown().await
        };
        match write.await {
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => return error,
            _ => {}
        }
    }
    pending().await
}

/// Extends the lease at half-time. Resolves only when it is lost.
async fn renew(lease: &Lease, length: Duration) -> LeaseLost {
    let mut pause = length / 2;
    loop {
        sleep(pause).await;
        pause = match lease.extend(length).await {
            Ok(()) => length / 2,
            Err(error) => match error.downcast::<LeaseLost>() {
                Ok(lost) => return *lost,
                // The store is away for a moment; the lease goes on until it ends.
                Err(_) => length / 10,
            },
        };
    }
}

/// The process group of a command.
struct Group(Option<Pid>);

impl Group {
    fn of(child: &Child) -> Self {
        let id = child.id().and_then(|id| i32::try_from(id).ok());
        Self(id.and_then(Pid::from_raw))
    }

    /// From here on its number may be somebody else's.
    fn ended(mut self) {
        self.0 = None;
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(group) = self.0 {
            kill_process_group(group, Signal::KILL).ok();
        }
    }
}

fn describe(status: ExitStatus) -> String {
    // `exit status: 3`, or `signal: 9 (SIGKILL)`
    format!("the command ended with {status}; the message was released")
}
