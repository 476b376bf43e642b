//! Telling people: notices of the record become messages, written for their readers, and go out through chat, pager, mail and
//! webhook until the service has taken them, or somebody has acknowledged what they are about.
//!
//! What is to be told is in the record before anything is sent, and leaves it when the service has confirmed it: a crash in
//! between tells twice rather than not at all, and pagers make one page of both by the key that each message carries.

mod body;
mod channel;
mod deadman;
mod desk;
#[cfg(test)]
mod desk_tests;
mod direct;
mod doubt;
mod http;
#[cfg(test)]
mod mail_mock;
mod message;
#[cfg(test)]
mod mock;
mod plan;
mod service;
#[cfg(test)]
mod service_tests;
mod template;

pub use channel::{Channel, ChannelError, SendError, channels};
pub use deadman::DeadMan;
pub use desk::Desk;
pub use direct::Direct;
pub use message::{Event, Message, Origin, digest, joined, message, test_message};
pub use plan::{Fate, Together, fate, next, retry_after};
