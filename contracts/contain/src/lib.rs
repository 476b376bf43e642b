//! The program that contains by authority. It is small, because a response to an incident pays for the size of what it enters, and the
//! programs are seldom cached when one comes. The gate hands it `contain`,
//! `containMany` and `containSet`.
#![cfg_attr(target_arch = "wasm32", no_std)]

cordon_logic::program!(cordon_logic::contain, conditions);
