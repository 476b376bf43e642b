//! cordon-stylus.
