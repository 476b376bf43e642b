//! The program that answers hooks where the gate does not decide by itself: something is not Normal, or a rule has to look. The gate
//! hands it `enter`, `exit` and `isAllowed`, in the gate's storage. It evaluates rules for whoever asks, too: the evaluator is here
//! already, and the program that responds needs its room.
#![cfg_attr(target_arch = "wasm32", no_std)]

cordon_logic::program!(cordon_logic::hook);
