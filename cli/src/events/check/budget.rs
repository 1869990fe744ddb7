use std::sync::{Arc, Condvar, Mutex, PoisonError};

/// How much memory the lines under way may take: many short ones, or a few long ones.
#[derive(Debug)]
pub(super) struct Budget {
    all: usize,
    left: Mutex<usize>,
    more: Condvar,
}

/// A part of the budget, which is given back when it is dropped.
#[derive(Debug)]
pub(super) struct Share {
    budget: Arc<Budget>,
    bytes: usize,
}

impl Budget {
    pub(super) fn new(all: usize) -> Arc<Self> {
        Arc::new(Self { all, left: Mutex::new(all), more: Condvar::new() })
    }

    /// Takes a part, and waits until there is enough. What is longer than all of it waits until it
    /// is alone.
    pub(super) fn take(self: &Arc<Self>, bytes: usize) -> Share {
        let bytes = bytes.min(self.all);
        let left = self.left.lock().unwrap_or_else(PoisonError::into_inner);
        let mut left = self
            .more
            .wait_while(left, |left| *left < bytes)
            .unwrap_or_else(PoisonError::into_inner);
        *left -= bytes;
        Share { budget: Arc::clone(self), bytes }
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        *self.budget.left.lock().unwrap_or_else(PoisonError::into_inner) += self.bytes;
        self.budget.more.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::mpsc, thread, time::Duration};

    use super::*;

    #[test]
    fn who_wants_more_than_is_left_waits() {
        let budget = Budget::new(10);
        let share = budget.take(7);
        let (sender, receiver) = mpsc::channel();
        let theirs = Arc::clone(&budget);
        // More than there ever is.
        let waiting = thread::spawn(move || {
            let _all = theirs.take(11);
            sender.send(()).unwrap();
        });
        assert!(receiver.recv_timeout(Duration::from_millis(50)).is_err());
        drop(share);
        receiver.recv().unwrap();
        waiting.join().unwrap();
        drop(budget.take(10));
    }
}
