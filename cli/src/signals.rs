//! Being told to stop.

use tokio::signal::unix::{Signal, SignalKind, signal};

/// Listens for Ctrl-C and SIGTERM, and for the end of the terminal where that is wanted.
pub(crate) struct Interrupt {
    interrupt: Signal,
    terminate: Signal,
    hangup: Option<Signal>,
}

impl Interrupt {
    pub(crate) fn listen() -> std::io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hangup: None,
        })
    }

    /// As [`listen`](Self::listen), and for SIGHUP, unless whoever started the process wants that ignored, as `nohup` does.
    pub(crate) fn listen_with_hangup() -> std::io::Result<Self> {
        let mut listening = Self::listen()?;
        if !ignores_hangup() {
            listening.hangup = Some(signal(SignalKind::hangup())?);
        }
        Ok(listening)
    }

    /// Ends at the first signal.
    pub(crate) async fn received(&mut self) {
        let hangup = async {
            match &mut self.hangup {
                Some(hangup) => drop(hangup.recv().await),
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
            () = hangup => {}
        }
    }
}

/// Whether SIGHUP is ignored: the lowest bit of the signals that Linux says the process ignores. Other systems do not tell.
fn ignores_hangup() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    ignored
        .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .is_some_and(|mask| mask & 1 == 1)
}
