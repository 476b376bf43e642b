//! The parser: from text to a tree.
