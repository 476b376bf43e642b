//! The program that answers hooks where the gate does not decide by itself: something is not Normal, or a rule has to look. The gate
//! hands it `enter`, `exit`, `isAllowed` and `levelOf`, in the gate's storage. It observes streams, too: what a rule has learnt is read here.
#![cfg_attr(target_arch = "wasm32", no_std)]

cordon_logic::program!(cordon_logic::hook, statistics);
