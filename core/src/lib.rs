//! cordon-core.
