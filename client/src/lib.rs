//! cordon-client.
