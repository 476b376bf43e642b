//! The program that answers an incident: trips, containment, evaluation. The gate hands it every call but hooks; what is none of this
//! program's functions it hands on to the recover and admin programs.
#![cfg_attr(target_arch = "wasm32", no_std)]

cordon_logic::program!(cordon_logic::respond_or_hand_on);
