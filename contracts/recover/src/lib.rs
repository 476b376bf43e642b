//! The program that leads out of an incident: queued releases, settlement, what cannot be undone. It is reached through the respond
//! program, in the gate's storage.
#![cfg_attr(target_arch = "wasm32", no_std)]

cordon_logic::program!(cordon_logic::recover);
