//! `safe-master-copy`: a Safe's owners sign a DELEGATECALL that replaces the Safe's code, as in February 2025.
//!
//! Safe 1.4.1 as published. The transaction guard `SafeTransactionGuard` is all that is added to it.

use std::collections::BTreeMap;

use alloy::{
    eips::BlockId,
    primitives::{Address, Bytes, U256, aliases::U24},
    providers::{Provider, ext::AnvilApi},
    signers::SignerSync,
    sol_types::{SolCall, SolConstructor, SolStruct, eip712_domain},
};

use super::{Holding, Play, Story, Struck};
use crate::{
    abi::{IBackdoor, IMintable, IMultiSend, ISafe, ISafeProxyFactory, ISafeTransactionGuard, ITokenDisguise, SafeTx},
    artifact::Artifact,
    attack::{Attack, Landed},
    benign::{Step, Wave},
    cast,
    chain::{signer, units},
    error::DrillError,
    fork::Fork,
    live::{Batch, Book, Builder, CHAIN_ID, MINT},
    outcome::Detector,
    scenario::Scenario,
    stage::{Grant, Stage},
    tools::Tools,
};

/// The drill.
pub(crate) struct SafeMasterCopy;

/// Owners of the Safe; two of the three sign.
const OWNERS: [u32; 3] = [cast::ADMIN, cast::VICTIM, cast::VAULT_BORROWER];
/// Ether in the Safe at the start.
const TREASURY: u64 = 1_000;
/// Tokens in the Safe at the start.
const TOKENS: u64 = 4_000_000;
/// The Safe's scope in the guard.
pub(super) const SCOPE: u8 = 1;
/// Two days between scheduling and execution of what changes the Safe.
pub(super) const DELAY: u64 = 172_800;
/// How long what hands the Safe over has to wait: seven days longer.
pub(super) const HANDOVER_DELAY: u64 = DELAY + 7 * 86_400;
/// Waves of honest traffic, and what the owners and others send in each.
const WAVES: u64 = 16;
const PAYMENTS: u64 = 5;

const CALL: u8 = 0;
pub(super) const DELEGATECALL: u8 = 1;

impl Play for SafeMasterCopy {
    const SCENARIO: Scenario = Scenario::SafeMasterCopy;
    const TEMPLATE: &'static str = include_str!("../../../tests/scenarios/safe/cordon.toml");
    const DETECTOR: Detector = Detector::Hook;
    const DELAYS: &'static [u64] = &[0, 1];
    const STORY: Story = Story {
        change: "two owners' signatures ran a DELEGATECALL that replaces the Safe's code by the thief's; no balance changes",
        taking: "the thief called `sweep` of the code that was to be there",
        held: "the transaction guard refused the DELEGATECALL: nobody had scheduled it; ordinary payments went on",
    };

    async fn deploy(tools: &Tools, builder: &Builder<'_>) -> Result<Book, DrillError> {
        let (published, ours) = (tools.safe_artifacts()?, tools.solidity_artifacts()?);
        let mut book = Book::default();
        let arguments = IMintable::constructorCall {
            name: "Test Dollar".to_owned(),
            symbol: "TUSD".to_owned(),
            decimals: 6,
        };
        let token = builder
            .deploy(&Artifact::forge(&ours, "TestToken")?, arguments.abi_encode())
            .await?;
        book.set("token", token);
        for (name, artifact) in [
            ("singleton", "Safe"),
            ("factory", "proxies/SafeProxyFactory"),
            ("multi_send", "libraries/MultiSendCallOnly"),
        ] {
            let address = builder
                .deploy(&Artifact::hardhat(&published, artifact)?, Vec::new())
                .await?;
            book.set(name, address);
        }
        let safe = create(builder, &book).await?;
        book.set("safe", safe);
        let adapter = ISafeTransactionGuard::constructorCall {
            binder: builder.admin.address(),
            safe,
            scope: U24::from(SCOPE),
            delay: U256::from(DELAY),
            multiSend: book.get("multi_send")?,
        };
        let adapter = builder
            .deploy(&Artifact::forge(&ours, "SafeTransactionGuard")?, adapter.abi_encode())
            .await?;
        book.set("safe_guard", adapter);
        let thief = builder.chain.account(cast::THIEF).await?;
        for (name, contract) in [("swap", "MasterCopySwap"), ("backdoor", "Backdoor")] {
            let artifact = Artifact::forge_in(&ours, "MasterCopySwap", contract)?;
            let address = builder.chain.deploy(&thief, &artifact, &BTreeMap::new(), &[]).await?;
            book.set(name, address);
        }
        fund(builder, &book).await?;
        Ok(book)
    }

    fn grants(book: &Book, guard: Address) -> Result<Vec<Grant>, DrillError> {
        let adapter = book.get("safe_guard")?;
        let bind = ISafeTransactionGuard::bindCall { guard };
        let set = ISafe::setGuardCall { guard: adapter };
        let safe = book.get("safe")?;
        Ok(vec![
            Grant {
                target: adapter,
                calldata: bind.abi_encode().into(),
                what: "binding the transaction guard",
            },
            Grant {
                target: safe,
                calldata: signed(book, 0, safe, U256::ZERO, set.abi_encode(), CALL)?
                    .abi_encode()
                    .into(),
                what: "setting the Safe's transaction guard",
            },
        ])
    }

    /// Payments of ether and tokens, batches, used up nonces, an owner to be added in two days, and people who pay in.
    fn traffic(book: &Book, guarded: bool) -> Result<Vec<Wave>, DrillError> {
        let mut nonce = u64::from(guarded);
        (0..WAVES).map(|wave| plan_wave(book, wave, &mut nonce)).collect()
    }

    async fn strike(fork: &Fork, book: &Book, delay: u64, _: Option<&Stage>) -> Result<Struck, DrillError> {
        let thief = fork.account(cast::THIEF)?;
        let safe = book.get("safe")?;
        let disguise = ITokenDisguise::transferCall {
            to: book.get("backdoor")?,
            amount: U256::ZERO,
        };
        let nonce = fork.chain.read(safe, &ISafe::nonceCall {}).await?.saturating_to();
        let swap = signed(
            book,
            nonce,
            book.get("swap")?,
            U256::ZERO,
            disguise.abi_encode(),
            DELEGATECALL,
        )?;
        fork.next_block().await?;
        let swapping = fork.chain.send(thief, safe, &swap).await?;
        if delay > 0 {
            let first_bad = Landed::try_from(&fork.mined(swapping, "the swap").await?)?.block;
            fork.until(first_bad + delay - 1).await?;
        }
        let sweep = IBackdoor::sweepCall {
            token: book.get("token")?,
        };
        let sweeping = fork.chain.send(thief, safe, &sweep).await?;
        let taking = Landed::try_from(&fork.mined(sweeping, "the sweep").await?)?;
        let change = Landed::try_from(&fork.chain.receipt(swapping, "the swap").await?)?;
        Ok(Struck {
            attack: Attack { change, taking },
            refusable: change,
            notes: Vec::new(),
        })
    }

    async fn wealth(fork: &Fork, book: &Book, at: BlockId) -> Result<Vec<Holding>, DrillError> {
        let safe = book.get("safe")?;
        let balance = fork.chain.provider().get_balance(safe).block_id(at);
        let ether = balance.await.map_err(DrillError::rpc("reading the Safe's ether"))?;
        let balance = IMintable::balanceOfCall { account: safe };
        let tokens = fork.chain.read_at(book.get("token")?, &balance, at).await?;
        Ok(vec![
            Holding {
                asset: "ETH",
                decimals: 18,
                amount: ether,
            },
            Holding {
                asset: "TUSD",
                decimals: 6,
                amount: tokens,
            },
        ])
    }
}

/// Creates the Safe and answers its address, which the factory's event names.
async fn create(builder: &Builder<'_>, book: &Book) -> Result<Address, DrillError> {
    let mut owners = Vec::new();
    for owner in OWNERS {
        owners.push(signer(owner)?.address());
    }
    let setup = ISafe::setupCall {
        owners,
        threshold: U256::from(2),
        to: Address::ZERO,
        data: Bytes::new(),
        fallbackHandler: Address::ZERO,
        paymentToken: Address::ZERO,
        payment: U256::ZERO,
        paymentReceiver: Address::ZERO,
    };
    let factory = book.get("factory")?;
    let call = ISafeProxyFactory::createProxyWithNonceCall {
        singleton: book.get("singleton")?,
        initializer: setup.abi_encode().into(),
        salt: U256::ONE,
    };
    // What the factory would answer now is where the proxy comes to be.
    let safe = builder.chain.read(factory, &call).await?;
    builder.execute(factory, &call).await?;
    Ok(safe)
}

async fn fund(builder: &Builder<'_>, book: &Book) -> Result<(), DrillError> {
    let (safe, token) = (book.get("safe")?, book.get("token")?);
    let provider = builder.chain.provider();
    provider
        .anvil_set_balance(safe, units(TREASURY, 18))
        .await
        .map_err(DrillError::rpc("funding the Safe"))?;
    let mut batch = Batch::new(builder.chain);
    let holders = cast::SUPPLIERS.chain(cast::BORROWERS).map(signer);
    for holder in holders {
        let (account, amount) = (holder?.address(), units(MINT, 6));
        batch
            .send(&builder.admin, token, &IMintable::mintCall { account, amount })
            .await?;
    }
    let (account, amount) = (safe, units(TOKENS, 6));
    batch
        .send(&builder.admin, token, &IMintable::mintCall { account, amount })
        .await?;
    batch.succeed().await
}

/// The Safe's transaction with the signatures of the first two owners.
pub(super) fn signed(
    book: &Book,
    nonce: u64,
    to: Address,
    value: U256,
    data: Vec<u8>,
    operation: u8,
) -> Result<ISafe::execTransactionCall, DrillError> {
    let data = Bytes::from(data);
    let tx = SafeTx {
        to,
        value,
        data: data.clone(),
        operation,
        safeTxGas: U256::ZERO,
        baseGas: U256::ZERO,
        gasPrice: U256::ZERO,
        gasToken: Address::ZERO,
        refundReceiver: Address::ZERO,
        nonce: U256::from(nonce),
    };
    let domain = eip712_domain! { chain_id: CHAIN_ID, verifying_contract: book.get("safe")?, };
    let digest = tx.eip712_signing_hash(&domain);
    let mut proofs = BTreeMap::new();
    for owner in OWNERS.into_iter().take(2) {
        let key = signer(owner)?;
        let signature = key.sign_hash_sync(&digest).map_err(|error| DrillError::Signer {
            index: owner,
            reason: error.to_string(),
        })?;
        proofs.insert(key.address(), signature.as_bytes());
    }
    // The Safe wants them in the order of the owners' addresses.
    let signatures = proofs.into_values().flatten().collect::<Vec<u8>>().into();
    Ok(ISafe::execTransactionCall {
        to,
        value,
        data,
        operation,
        safeTxGas: U256::ZERO,
        baseGas: U256::ZERO,
        gasPrice: U256::ZERO,
        gasToken: Address::ZERO,
        refundReceiver: Address::ZERO,
        signatures,
    })
}

fn plan_wave(book: &Book, wave: u64, nonce: &mut u64) -> Result<Wave, DrillError> {
    let (safe, token) = (book.get("safe")?, book.get("token")?);
    let mut steps = Vec::new();
    if wave == 1 {
        // An honest change of the Safe, announced as it has to be.
        let add = ISafe::addOwnerWithThresholdCall {
            owner: signer(cast::LIQUIDATOR)?.address(),
            threshold: U256::from(2),
        };
        let schedule = ISafeTransactionGuard::scheduleCall {
            to: safe,
            value: U256::ZERO,
            data: add.abi_encode().into(),
            operation: CALL,
        };
        steps.push(Step::new(
            cast::VICTIM,
            book.get("safe_guard")?,
            &schedule,
            "scheduled change",
        ));
    }
    for turn in 0..PAYMENTS {
        let (to, value, data, operation, what) = payment(book, wave * PAYMENTS + turn)?;
        let call = signed(book, *nonce, to, value, data, operation)?;
        steps.push(Step::new(cast::ADMIN, safe, &call, what));
        *nonce += 1;
    }
    for (turn, actor) in (0u64..).zip(cast::SUPPLIERS.chain(cast::BORROWERS)) {
        let amount = units(100 + 7 * turn + wave, 6);
        steps.push(Step::new(
            actor,
            token,
            &IMintable::transferCall { to: safe, amount },
            "payment in",
        ));
    }
    Ok(steps)
}

/// The Safe's honest transactions in turn.
fn payment(book: &Book, turn: u64) -> Result<(Address, U256, Vec<u8>, u8, &'static str), DrillError> {
    let payee = signer(cast::LIQUIDATOR)?.address();
    let transfer = IMintable::transferCall {
        to: payee,
        amount: units(900 + turn, 6),
    };
    let ether = units(1, 18) / U256::from(2);
    Ok(match turn % 4 {
        0 => (payee, ether, Vec::new(), CALL, "payment of ether"),
        1 => (
            book.get("token")?,
            U256::ZERO,
            transfer.abi_encode(),
            CALL,
            "payment of tokens",
        ),
        2 => {
            let parts = [
                part(payee, ether, &[]),
                part(book.get("token")?, U256::ZERO, &transfer.abi_encode()),
            ];
            let batch = IMultiSend::multiSendCall {
                transactions: parts.concat().into(),
            };
            let (to, data) = (book.get("multi_send")?, batch.abi_encode());
            (to, U256::ZERO, data, DELEGATECALL, "batch of payments")
        }
        _ => (book.get("safe")?, U256::ZERO, Vec::new(), CALL, "used up nonce"),
    })
}

/// One part of a batch, as MultiSendCallOnly reads it.
fn part(to: Address, value: U256, data: &[u8]) -> Vec<u8> {
    let size = U256::from(data.len());
    [
        &[CALL][..],
        to.as_slice(),
        &value.to_be_bytes::<32>(),
        &size.to_be_bytes::<32>(),
        data,
    ]
    .concat()
}
