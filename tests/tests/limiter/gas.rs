//! What the hot path costs.

use crate::world::{ALICE, ANYONE, ICordonLimiter, Treasury, World, events};
use alloy::network::TransactionBuilder;
use alloy::primitives::U256;
use alloy::providers::Provider;
use alloy::providers::ext::AnvilApi;
use alloy::rpc::types::TransactionRequest;
use alloy::sol;
use alloy::sol_types::SolCall;
use cordon_client::precompiles::ARB_WASM;

sol! {
    interface EntryCost {
        function programInitGas(address program) external view returns (uint64 gas, uint64 gasWhenCached);
    }
}

/// Gas that one call of the limiter costs a Solidity caller whose limit is in use, with the program cached.
#[tokio::test(flavor = "multi_thread")]
async fn limits_cost_less_than_the_target() {
    let world = World::new().await;
    let init = EntryCost::programInitGasCall { program: world.limiter }.abi_encode();
    let request = TransactionRequest::default().with_to(ARB_WASM).with_input(init);
    let init = EntryCost::programInitGasCall::abi_decode_returns(&world.provider.call(request).await.unwrap()).unwrap();
    println!("entry: {} uncached, {} cached", init.gas, init.gasWhenCached);
    let outflow = || Treasury::measureOutflowCall {
        asset: world.token,
        class: 0,
        account: ALICE,
        amount: U256::from(5),
    };
    let inflow = || Treasury::measureInflowCall {
        asset: world.token,
        class: 0,
        account: ALICE,
        amount: U256::from(5),
    };
    world.ok(ANYONE, world.treasury, outflow()).await;
    let mut costs = Vec::new();
    for receipt in [
        world.ok(ANYONE, world.treasury, outflow()).await,
        world.ok(ANYONE, world.treasury, inflow()).await,
    ] {
        let measured = events::<Treasury::Measured>(&receipt).pop().unwrap().gas;
        // The only call of its block, so it pays the entry of a program that is not cached.
        costs.push(u64::try_from(measured).unwrap() - init.gas + init.gasWhenCached);
    }
    println!(
        "outflow {} gas, inflow {} gas, from a Solidity caller, program cached",
        costs[0], costs[1]
    );
    assert!(costs[0] <= 10_000 && costs[1] <= 10_000, "{costs:?}");

    // The program's own work, without the call to it: what a limiter costs that is built into a Stylus protocol.
    let work = ICordonLimiter::outflowCall {
        asset: world.token,
        class: 0,
        account: ALICE,
        amount: U256::from(5),
    };
    let intrinsic = work
        .abi_encode()
        .iter()
        .fold(21_000, |gas, byte| gas + if *byte == 0 { 4 } else { 16 });
    let ether = U256::from(10).pow(U256::from(18));
    world.provider.anvil_set_balance(world.treasury, ether).await.unwrap();
    let receipt = world.ok(world.treasury, world.limiter, work).await;
    let own = receipt.gas_used - intrinsic - init.gas;
    println!("outflow without the call: {own} gas");
    assert!(own <= 7_400, "{own}");
    world.node.stop().await.unwrap();
}
