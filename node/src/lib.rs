//! cordon-node.
