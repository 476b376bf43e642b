//! Creating and activating Stylus programs.

use alloy::network::TransactionBuilder;
use alloy::primitives::{Address, B256, Bytes, U256, keccak256};
use alloy::providers::Provider;
use alloy::rpc::types::TransactionRequest;
use alloy::rpc::types::state::AccountOverride;
use alloy::sol_types::{SolCall, SolInterface};

use super::DeployError;
use crate::chain::{ChainError, code, explain, explain_call, send};
use crate::precompiles::ArbWasm::ArbWasmErrors;
use crate::precompiles::{ARB_WASM, ArbWasm, STYLUS_DEPLOYER, StylusDeployer};
use crate::program::Program;

/// Share of the activation fee that is sent on top of it, in percent: the fee moves with demand, and what is not used comes
/// back.
const FEE_MARGIN: u64 = 20;

/// What the chain knows of a program's code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// It runs.
    Active,
    /// It was never activated.
    Never,
    /// It was activated for an earlier version of Stylus.
    Outdated,
    /// Its activation has run out.
    Expired,
}

/// Whether the code of this hash is active on the chain.
pub async fn activation<P: Provider>(provider: &P, code_hash: B256) -> Result<Activation, DeployError> {
    let arb_wasm = ArbWasm::new(ARB_WASM, provider);
    let current = arb_wasm
        .stylusVersion()
        .call()
        .await
        .map_err(|error| DeployError::NoStylus {
            reason: explain_call("stylusVersion()", error).to_string(),
        })?;
    let version = match arb_wasm.codehashVersion(code_hash).call().await {
        Ok(version) => version,
        Err(error) => {
            let known = error
                .as_revert_data()
                .and_then(|data| ArbWasmErrors::abi_decode(&data).ok());
            return match known {
                Some(ArbWasmErrors::ProgramNotActivated(_)) => Ok(Activation::Never),
                Some(ArbWasmErrors::ProgramNeedsUpgrade(_)) => Ok(Activation::Outdated),
                Some(ArbWasmErrors::ProgramExpired(_)) => Ok(Activation::Expired),
                _ => Err(explain_call("asking whether a program is active", error).into()),
            };
        }
    };
    Ok(if version == current {
        Activation::Active
    } else {
        Activation::Outdated
    })
}

/// The fee in wei that activating the program costs now. Simulated with the code in place of an account's, so it works before
/// the program is on the chain, and shows whether the chain accepts the program.
pub async fn data_fee<P: Provider>(provider: &P, program: &Program) -> Result<U256, DeployError> {
    // Any two addresses that nobody uses: derived from the code, so that the request is the same every time.
    let account = Address::from_word(keccak256([b"program".as_slice(), &program.code].concat()));
    let payer = Address::from_word(keccak256([b"payer".as_slice(), &program.code].concat()));
    let value = U256::from(10).pow(U256::from(18));
    let request = TransactionRequest::default()
        .with_from(payer)
        .with_to(ARB_WASM)
        .with_value(value)
        .with_input(ArbWasm::activateProgramCall { program: account }.abi_encode());
    let answer = provider
        .call(request)
        .account_override(
            account,
            AccountOverride {
                code: Some(program.code.clone()),
                ..Default::default()
            },
        )
        .account_override(
            payer,
            AccountOverride {
                balance: Some(value),
                ..Default::default()
            },
        )
        .await
        .map_err(|error| match explain("activating", &error) {
            ChainError::Reverted { reason, .. } | ChainError::Refused { reason, .. } => DeployError::NotAccepted {
                name: program.name.clone(),
                reason,
            },
            other => other.into(),
        })?;
    ArbWasm::activateProgramCall::abi_decode_returns(&answer)
        .map(|returned| returned.dataFee)
        .map_err(|error| DeployError::NoStylus {
            reason: error.to_string(),
        })
}

/// A fee and the margin that is sent with it.
pub fn with_margin(fee: U256) -> U256 {
    fee.saturating_add(fee.saturating_mul(U256::from(FEE_MARGIN)) / U256::from(100))
}

/// Creates an account with the program by an ordinary transaction and activates it, unless its code is active already.
pub async fn deploy_program<P: Provider>(
    provider: &P,
    from: Address,
    program: &Program,
) -> Result<Address, DeployError> {
    let active = activation(provider, program.code_hash()).await? == Activation::Active;
    if !active {
        // Simulated first: a program that the chain does not accept is not put there.
        data_fee(provider, program).await?;
    }
    let create = TransactionRequest::default()
        .with_from(from)
        .with_deploy_code(program.init_code());
    let receipt = send(provider, &format!("creating {}", program.name), create).await?;
    let address = receipt.contract_address.ok_or_else(|| DeployError::NotCreated {
        name: program.name.clone(),
        hash: receipt.transaction_hash,
    })?;
    tracing::info!(program = program.name, %address, gas = receipt.gas_used, "created");
    activate(provider, from, address, program).await?;
    Ok(address)
}

/// Activates the program at `address`; does nothing when its code is active.
pub async fn activate<P: Provider>(
    provider: &P,
    from: Address,
    address: Address,
    program: &Program,
) -> Result<(), DeployError> {
    if activation(provider, program.code_hash()).await? == Activation::Active {
        return Ok(());
    }
    let fee = data_fee(provider, program).await?;
    let call = TransactionRequest::default()
        .with_from(from)
        .with_to(ARB_WASM)
        .with_value(with_margin(fee))
        .with_input(ArbWasm::activateProgramCall { program: address }.abi_encode());
    let receipt = send(provider, &format!("activating {}", program.name), call).await?;
    tracing::info!(program = program.name, fee_wei = %fee, gas = receipt.gas_used, "activated");
    Ok(())
}

/// Where [`deploy_at_fixed_address`] puts, or has put, the program.
pub(super) async fn fixed_address<P: Provider>(
    provider: &P,
    program: &Program,
    init_data: &Bytes,
    salt: B256,
) -> Result<Address, DeployError> {
    if code(provider, STYLUS_DEPLOYER).await?.is_empty() {
        return Err(DeployError::NoDeployer(STYLUS_DEPLOYER));
    }
    let mixed = StylusDeployer::new(STYLUS_DEPLOYER, provider)
        .initSalt(salt, init_data.clone())
        .call()
        .await
        .map_err(|error| explain_call("asking StylusDeployer for an address", error))?;
    Ok(STYLUS_DEPLOYER.create2_from_code(mixed, program.init_code()))
}

/// Creates, activates and initialises a program in one transaction of StylusDeployer, at an address that follows from code,
/// `init_data` and `salt` (not zero): nobody can come between, and a second run finds what the first one made. Returns the
/// address, and whether it was made now.
pub async fn deploy_at_fixed_address<P: Provider>(
    provider: &P,
    from: Address,
    program: &Program,
    init_data: Bytes,
    salt: B256,
) -> Result<(Address, bool), DeployError> {
    let address = fixed_address(provider, program, &init_data, salt).await?;
    let init_code = program.init_code();
    if code(provider, address).await? == program.code {
        activate(provider, from, address, program).await?;
        return Ok((address, false));
    }
    let value = match activation(provider, program.code_hash()).await? {
        Activation::Active => U256::ZERO,
        _ => with_margin(data_fee(provider, program).await?),
    };
    let call = StylusDeployer::deployCall {
        bytecode: init_code,
        initData: init_data,
        initValue: U256::ZERO,
        salt,
    };
    let request = TransactionRequest::default()
        .with_from(from)
        .with_to(STYLUS_DEPLOYER)
        .with_value(value)
        .with_input(call.abi_encode());
    let receipt = send(provider, &format!("deploying {}", program.name), request).await?;
    // Other releases of the deployer mix the salt in another way: the event has the last word.
    let created = receipt
        .logs()
        .iter()
        .filter(|log| log.address() == STYLUS_DEPLOYER)
        .find_map(|log| log.log_decode::<StylusDeployer::ContractDeployed>().ok())
        .map(|log| log.inner.data.deployedContract)
        .ok_or_else(|| DeployError::NotCreated {
            name: program.name.clone(),
            hash: receipt.transaction_hash,
        })?;
    tracing::info!(program = program.name, address = %created, gas = receipt.gas_used, "deployed");
    Ok((created, true))
}
