//! Cordon's keeper: it follows the chain, evaluates the guard's rules at every block, trips the guard when one is breached,
//! and keeps the incident from the first bad block to the close.
//!
//! The modules are the stages of the pipeline in the order in which data flows: [`chain`], [`rules`], [`decide`],
//! [`respond`], [`record`]; [`report`] writes what the record knows for people. [`Keeper`] ties them together.

pub mod chain;
pub mod clock;
pub mod decide;
pub mod record;
pub mod rules;
