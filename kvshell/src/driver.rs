//! A thread that drives the connections all the time, also while the shell waits for a line: a connection that nobody
//! drives dies within seconds, and the next command would find out only by failing on it.

use std::{
    future::Future,
    io,
    thread::{self, JoinHandle},
};

use tokio::{runtime::Handle, sync::oneshot};

/// Runs futures for the shell's own thread. Dropping it lets what was said last leave, then ends the thread.
pub(crate) struct Driver {
    handle: Handle,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Driver {
    /// Starts the thread.
    pub(crate) fn start() -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let (stop, stopped) = oneshot::channel::<()>();
        let drive = async {
            let _ = stopped.await;
            for _ in 0..8 {
                tokio::task::yield_now().await;
            }
        };
        let thread = thread::Builder::new().name("driver".to_owned()).spawn(move || {
            runtime.block_on(drive);
            // A name that is still being resolved must not hold up the end of the shell.
            runtime.shutdown_background();
        })?;
        Ok(Self { handle, stop: Some(stop), thread: Some(thread) })
    }

    /// Waits for the output of `work`.
    pub(crate) fn wait<T>(&self, work: impl Future<Output = T>) -> T {
        self.handle.block_on(work)
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // It ends by itself; how it ended matters to nobody any more.
            let _ = thread.join();
        }
    }
}
