//! cordon-keeper.
