//! Cordon's keeper: it follows the chain, evaluates the guard's rules at every block, trips the guard when one is breached,
//! and keeps the incident from the first bad block to the close.
//!
//! The modules are the stages of the pipeline in the order in which data flows: [`chain`], [`rules`], [`decide`],
//! [`respond`], [`notify`], [`record`]; [`report`] writes what the record knows for people. [`Keeper`] ties them together.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use cordon_client::Config;
//! use cordon_keeper::{Keeper, Options, Signers, record::Store};
//!
//! let config = Config::load("cordon.toml")?;
//! let options = Options::from_config(&config)?;
//! let section = config.keeper.as_ref().ok_or("no [keeper] section")?;
//! let store = Store::at(&section.store, config.source.directory(), options.chain_id, options.guard).await?;
//! let keeper = Keeper::new(options, &config.compile()?, store, Signers::from_config(&config).await?).await?;
//! keeper.run(tokio_util::sync::CancellationToken::new()).await?;
//! # Ok(())
//! # }
//! ```

mod aftermath;
mod agreement;
mod ahead;
mod alarm;
mod catchup;
pub mod chain;
pub mod clock;
mod console;
pub mod decide;
mod error;
mod event;
mod fail_point;
mod fleet;
mod forget;
mod health;
mod keeper;
mod lookout;
mod mempool;
pub mod notify;
mod options;
mod pipeline;
mod play;
mod policy;
pub mod record;
mod rejoin;
mod replay;
pub mod report;
pub mod respond;
pub mod rules;
mod second;
mod text;
mod turns;
mod watchdog;

pub use alarm::Alarms;
pub use console::{Approvers, TokenError};
pub use error::KeeperError;
pub use event::KeeperEvent;
pub use health::Health;
pub use keeper::{Keeper, Preflight};
pub use options::{Options, Signers};
pub use replay::{Found, Replayed, Side, What, replay};
pub use text::one_line;
