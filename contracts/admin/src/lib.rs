//! The program that administers: set-up, roles, announcements, rulebooks, replacement of the programs, the incidents' notes. It is
//! reached through the respond program, in the gate's storage.
#![cfg_attr(target_arch = "wasm32", no_std)]

cordon_logic::program!(cordon_logic::administer);
