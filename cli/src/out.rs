//! Lines on standard output that outlive their reader: a pipe that nobody reads any more must not end a keeper.

/// Writes a line to standard output; that nobody reads it is no error.
macro_rules! say {
    ($($part:tt)*) => {{
        use std::io::Write as _;
        let _ = writeln!(std::io::stdout(), $($part)*);
    }};
}

pub(crate) use say;
