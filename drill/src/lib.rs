//! cordon-drill.
