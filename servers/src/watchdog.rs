use std::{
    ffi::OsStr,
    io::{self, Write},
    os::unix::process::CommandExt,
    process::{Child, Command, Stdio},
};

/// Runs a shell script when this process dies before the watchdog was dropped.
///
/// A shell waits on a pipe that only this process holds. The kernel closes the pipe whatever ends
/// the process, `kill -9` included, and the shell does not depend on the thread that started it,
/// as `PR_SET_PDEATHSIG` would.
///
/// # What is not promised
///
/// The script does not run when the shell is killed too, and it runs a moment after the death.
#[derive(Debug)]
#[must_use = "a dropped watchdog watches nothing"]
pub struct Watchdog {
    shell: Child,
}

impl Watchdog {
    /// Starts watching; `args` are `$1`, `$2`, … of the POSIX shell script.
    ///
    /// # Errors
    ///
    /// When `sh` cannot be started.
    pub fn start<A>(script: &str, args: impl IntoIterator<Item = A>) -> io::Result<Self>
    where
        A: AsRef<OsStr>,
    {
        Self::start_as(Command::new("sh"), script, args)
    }

    /// The same through a `sh` that was prepared by the caller, to run under another account.
    pub(crate) fn start_as<A>(
        mut sh: Command,
        script: &str,
        args: impl IntoIterator<Item = A>,
    ) -> io::Result<Self>
    where
        A: AsRef<OsStr>,
    {
        // In a process group of its own, so that what is sent to the group of its parent, Ctrl-C
        // above all, does not end the watchdog together with the one it watches. Without our
        // output, so that nobody who reads that to its end waits for the shell.
        let shell = sh
            .arg("-c")
            .arg(format!("trap '' HUP INT QUIT TERM\nread -r _ && exit\n{script}"))
            .arg("watchdog")
            .args(args)
            .current_dir("/")
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        Ok(Self { shell })
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        // A line, not the end of input, is what calls the watchdog off.
        if let Some(mut stdin) = self.shell.stdin.take()
            && stdin.write_all(b"\n").is_err()
        {
            let _ = self.shell.kill();
        }
        let _ = self.shell.wait();
    }
}
