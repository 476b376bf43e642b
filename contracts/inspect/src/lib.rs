//! The program that tells: views, evaluation of rules, health, rehearsals of containment calls. It is reached through the respond
//! program, in the gate's storage.
#![cfg_attr(target_arch = "wasm32", no_std)]

cordon_logic::program!(cordon_logic::inspect, statistics);
