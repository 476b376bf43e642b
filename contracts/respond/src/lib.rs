//! The program that answers a breach: trips. The gate hands it every call but hooks and containment by authority; what is none of this
//! program's functions it hands on to the others.
#![cfg_attr(target_arch = "wasm32", no_std)]

cordon_logic::program!(cordon_logic::respond_or_hand_on);
