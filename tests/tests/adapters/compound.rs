//! A Comptroller of the Compound v2 kind: Venus's published Unitroller, first Comptroller and markets.

use std::path::PathBuf;

use alloy::primitives::{Address, U256, address};
use alloy::providers::Provider;
use alloy::providers::ext::AnvilApi;
use alloy::rpc::types::TransactionRequest;
use alloy::sol;
use alloy::sol_types::{SolCall, SolValue};
use cordon_client::Config;
use cordon_client::guard::ICordonGuard::{self, Level};

use crate::world::{GUARDIAN, HOUR, IAdapter, OWNER, World, contain, count, ours, published, published_at};

sol! {
    interface IComptroller {
        function _setPendingImplementation(address code) external returns (uint256);
        function _become(address unitroller) external;
        function _setPendingAdmin(address admin) external returns (uint256);
        function _acceptAdmin() external returns (uint256);
        function _setPauseGuardian(address guardian) external returns (uint256);
        function _setPriceOracle(address oracle) external returns (uint256);
        function _setCloseFactor(uint256 mantissa) external returns (uint256);
        function _setLiquidationIncentive(uint256 mantissa) external returns (uint256);
        function _setMaxAssets(uint256 count) external returns (uint256);
        function _supportMarket(address market) external returns (uint256);
        function _setCollateralFactor(address market, uint256 mantissa) external returns (uint256);
        function _setBorrowPaused(address market, bool paused) external returns (bool);
        function enterMarkets(address[] calldata markets) external returns (uint256[] memory);
    }
    interface IMarket {
        function mint(uint256 amount) external returns (uint256);
        function borrow(uint256 amount) external returns (uint256);
        function repayBorrow(uint256 amount) external returns (uint256);
        function liquidateBorrow(address borrower, uint256 amount, address collateral) external returns (uint256);
    }
    interface IFaucet {
        function allocateTo(address to, uint256 amount) external;
        function approve(address spender, uint256 amount) external returns (bool);
    }
    interface IOracle {
        function setUnderlyingPrice(address market, uint256 price) external;
    }
    interface ISwitch {
        function accept() external;
        function administer(address target, bytes calldata data) external returns (bytes memory);
        function handBack(address admin) external;
    }
}

const VENUS: &str = "@venusprotocol/venus-protocol/artifacts/contracts";
const LENDER: Address = address!("00000000000000000000000000000000001e4de2");
const BORROWER: Address = address!("00000000000000000000000000000000000b0220");
/// Where the implementation stands: its code is above the size that a deployment may have.
const CODE: Address = address!("0000000000000000000000000000000000000061");

/// 10^18.
fn units(amount: u64) -> U256 {
    U256::from(amount) * U256::from(10).pow(U256::from(18))
}

struct Compound {
    world: World,
    comptroller: Address,
    oracle: Address,
    usd: Address,
    eth: Address,
    switch: Address,
}

impl Compound {
    /// Two markets with a loan, whose admin is the first account, and an adapter that has no role yet.
    async fn new() -> Self {
        let world = World::bare().await;
        let comptroller = Self::create(&world, "Comptroller/Unitroller", vec![]).await;
        let code = published_at(&format!("{VENUS}/Comptroller/ComptrollerG1.sol/ComptrollerG1.json"));
        world.provider.anvil_set_code(CODE, code).await.unwrap();
        let pending = IComptroller::_setPendingImplementationCall { code: CODE };
        world.send(OWNER, comptroller, pending).await;
        let unitroller = comptroller;
        world.send(OWNER, CODE, IComptroller::_becomeCall { unitroller }).await;
        let oracle = Self::create(&world, "test/SimplePriceOracle", vec![]).await;
        let mut compound = Self {
            world,
            comptroller,
            oracle,
            usd: Address::ZERO,
            eth: Address::ZERO,
            switch: Address::ZERO,
        };
        compound.set_up().await;
        compound.world.fork().await;
        compound
    }

    async fn create(world: &World, path: &str, arguments: Vec<u8>) -> Address {
        let name = path.rsplit('/').next().unwrap();
        let code = published(&format!("{VENUS}/{path}.sol/{name}.json"));
        world.create(code, arguments).await
    }

    async fn set_up(&mut self) {
        let half = units(1) / U256::from(2);
        let incentive = units(11) / U256::from(10);
        let oracle = self.oracle;
        self.admin(IComptroller::_setPriceOracleCall { oracle }).await;
        self.admin(IComptroller::_setCloseFactorCall { mantissa: half }).await;
        self.admin(IComptroller::_setLiquidationIncentiveCall { mantissa: incentive })
            .await;
        self.admin(IComptroller::_setMaxAssetsCall { count: U256::from(10) })
            .await;
        for account in [LENDER, BORROWER] {
            let balance = self.world.provider.anvil_set_balance(account, units(100));
            balance.await.unwrap();
        }
        self.usd = self.list("USD", units(1)).await;
        self.eth = self.list("ETH", units(2000)).await;
        let amount = units(500_000);
        self.world.send(LENDER, self.usd, IMarket::mintCall { amount }).await;
        let amount = units(100);
        self.world.send(BORROWER, self.eth, IMarket::mintCall { amount }).await;
        let markets = vec![self.eth];
        let enter = IComptroller::enterMarketsCall { markets };
        self.world.send(BORROWER, self.comptroller, enter).await;
        let amount = units(100_000);
        self.world
            .send(BORROWER, self.usd, IMarket::borrowCall { amount })
            .await;
        assert_eq!(self.open().await, [true; 3]);
        let levers = [(1, self.usd), (3, self.comptroller), (4, self.comptroller)];
        let levers = levers.map(|(pause, market)| (U256::from(pause), market)).to_vec();
        let arguments = (OWNER, self.comptroller, OWNER, levers).abi_encode_params();
        self.switch = self.world.create(ours("ComptrollerSwitch"), arguments).await;
    }

    /// A market in a token of which lender and borrower have a million.
    async fn list(&self, name: &str, price: U256) -> Address {
        let world = &self.world;
        let token = (U256::ZERO, name.to_owned(), U256::from(18), name.to_owned()).abi_encode_params();
        let token = Self::create(world, "test/FaucetToken", token).await;
        let rates = (U256::ZERO, U256::ZERO).abi_encode_params();
        let rates = Self::create(world, "InterestRateModels/WhitePaperInterestRateModel", rates).await;
        let named = (name.to_owned(), name.to_owned());
        let market = (
            token,
            self.comptroller,
            rates,
            units(1),
            named.0,
            named.1,
            U256::from(8),
            OWNER,
        )
            .abi_encode_params();
        let market = Self::create(world, "Tokens/VTokens/VBep20Immutable", market).await;
        let set = IOracle::setUnderlyingPriceCall { market, price };
        world.send(OWNER, self.oracle, set).await;
        self.admin(IComptroller::_supportMarketCall { market }).await;
        let mantissa = units(8) / U256::from(10);
        self.admin(IComptroller::_setCollateralFactorCall { market, mantissa })
            .await;
        for account in [LENDER, BORROWER] {
            let (to, amount) = (account, units(1_000_000));
            world.send(OWNER, token, IFaucet::allocateToCall { to, amount }).await;
            let (spender, amount) = (market, U256::MAX);
            world
                .send(account, token, IFaucet::approveCall { spender, amount })
                .await;
        }
        market
    }

    /// A call of the Comptroller's admin.
    async fn admin<C: SolCall>(&self, call: C) {
        self.world.send(OWNER, self.comptroller, call).await;
    }

    /// Whether a market does it now; a Comptroller says no by an error or by a number other than zero.
    async fn does<C: SolCall>(&self, from: Address, market: Address, call: C) -> bool {
        let request = TransactionRequest::default()
            .from(from)
            .to(market)
            .input(call.abi_encode().into());
        let answer = self.world.provider.call(request).await;
        answer.is_ok_and(|answer| U256::from_be_slice(&answer).is_zero())
    }

    /// Whether borrowing, supplying and repaying are open.
    async fn open(&self) -> [bool; 3] {
        let amount = units(1);
        [
            self.does(BORROWER, self.usd, IMarket::borrowCall { amount }).await,
            self.does(LENDER, self.usd, IMarket::mintCall { amount }).await,
            self.does(BORROWER, self.usd, IMarket::repayBorrowCall { amount }).await,
        ]
    }

    async fn liquidates(&self) -> bool {
        let call = IMarket::liquidateBorrowCall {
            borrower: BORROWER,
            amount: units(1),
            collateral: self.eth,
        };
        self.does(LENDER, self.usd, call).await
    }

    /// A guard of two scopes with these containment calls.
    fn configuration(&self, containment: &str) -> String {
        let Self {
            comptroller,
            usd,
            switch,
            ..
        } = self;
        let endpoint = self.world.endpoint();
        format!(
            r#"
[chain]
id = 31337
rpc = ["{endpoint}"]
[guard]
scopes = ["protocol", "market"]
governor = "{OWNER}"
guardians = ["{GUARDIAN}"]
heartbeats = ["{OWNER}"]
governor_delay = "1 hour"
[contracts]
usd = {{ address = "{usd}" }}
comptroller = {{ address = "{comptroller}", abi = ["function _setBorrowPaused(address market, bool paused) returns (bool)", "function _setProtocolPaused(bool paused) returns (bool)", "function protocolPaused() view returns (bool)"] }}
switch = {{ address = "{switch}", abi = ["function close(uint8 pause, address market)", "function open(uint8 pause, address market)", "function isClosed(uint8 pause, address market) view returns (bool)"] }}
{containment}"#
        )
    }

    /// The guard with the calls of docs/adapters.md; the adapter is admin.
    async fn behind_the_switch() -> Self {
        let mut compound = Self::new().await;
        let text = compound.configuration(THROUGH_THE_SWITCH);
        compound.world.guard = compound.world.guarded(&text).await;
        let (guard, switch) = (compound.world.guard, compound.switch);
        compound.world.send(OWNER, switch, IAdapter::bindCall { guard }).await;
        compound
            .admin(IComptroller::_setPendingAdminCall { admin: switch })
            .await;
        compound.world.send(GUARDIAN, switch, ISwitch::acceptCall {}).await;
        compound.world.send(OWNER, guard, ICordonGuard::sealCall {}).await;
        compound
    }

    async fn settle(&self, scope: u8) -> usize {
        let settle = ICordonGuard::settleCall { scope };
        let receipt = self.world.send(GUARDIAN, self.world.guard, settle).await;
        count::<ICordonGuard::ContainmentUndone>(&receipt)
    }
}

const THROUGH_THE_SWITCH: &str = r#"
[[containment]]
id = "stop-borrowing"
scope = "market"
level = "ReduceOnly"
call = "switch.close(1, usd)"
done = "switch.isClosed(1, usd)"
closes = ["Increase"]
undo = [{ call = "switch.open(1, usd)", undone = "!switch.isClosed(1, usd)" }]
[[containment]]
id = "stop-seizing"
scope = "market"
level = "Halted"
call = "switch.close(3, comptroller)"
done = "switch.isClosed(3, comptroller)"
closes = ["Liquidate"]
undo = [{ call = "switch.open(3, comptroller)", undone = "!switch.isClosed(3, comptroller)" }]
[[containment]]
id = "pause-everything"
scope = "protocol"
level = "Halted"
call = "switch.close(4, comptroller)"
done = "comptroller.protocolPaused()"
closes = ["Deposit", "Withdraw", "Trade", "Increase", "Decrease", "Repay", "Settle", "Liquidate"]
accepts = ["Repay"]
max_duration = "15 minutes"
undo = [{ call = "switch.open(4, comptroller)", undone = "!comptroller.protocolPaused()" }]
"#;

/// The guard is pause guardian itself: it closes, and the admin opens.
const DIRECTLY: &str = r#"
[[containment]]
id = "stop-borrowing"
scope = "market"
level = "ReduceOnly"
call = "comptroller._setBorrowPaused(usd, true)"
done = "switch.isClosed(1, usd)"
closes = ["Increase"]
"#;

/// The same with the pause that closes repayment.
const EVERYTHING_DIRECTLY: &str = r#"
[[containment]]
id = "pause-everything"
scope = "protocol"
level = "Halted"
call = "comptroller._setProtocolPaused(true)"
done = "comptroller.protocolPaused()"
closes = ["Deposit", "Withdraw", "Increase", "Decrease", "Repay", "Liquidate"]
accepts = ["Repay"]
max_duration = "15 minutes"
"#;

/// A market is closed to new loans and opened again; then everything stands still, repayment for a quarter of an hour only.
#[tokio::test(flavor = "multi_thread")]
async fn the_guard_pauses_a_compound_market_and_takes_it_back() {
    let compound = Compound::behind_the_switch().await;
    let world = &compound.world;
    let contained = world
        .send(GUARDIAN, world.guard, contain(1, Level::ReduceOnly, HOUR))
        .await;
    assert_eq!(count::<ICordonGuard::ContainmentApplied>(&contained), 1);
    eprintln!("contain through the adapter: {} gas", contained.gas_used);
    assert_eq!(compound.open().await, [false, true, true]);
    world.pass(4 * HOUR).await;
    assert_eq!(compound.settle(1).await, 1);
    assert_eq!(compound.open().await, [true; 3]);

    let (market, price) = (compound.eth, units(1000));
    let fall = IOracle::setUnderlyingPriceCall { market, price };
    world.send(OWNER, compound.oracle, fall).await;
    assert!(compound.liquidates().await);
    world.send(GUARDIAN, world.guard, contain(0, Level::Halted, HOUR)).await;
    assert_eq!(compound.open().await, [false; 3]);
    // Repayment comes back after a quarter of an hour, liquidations no sooner than repayment, new loans last.
    world.pass(15 * 60).await;
    assert_eq!(compound.settle(0).await, 1);
    assert_eq!(compound.open().await, [false, true, true]);
    assert!(!compound.liquidates().await);
    world.pass(6 * HOUR).await;
    assert_eq!(compound.settle(0).await, 2);
    assert!(compound.liquidates().await);
    world
        .send(
            OWNER,
            compound.oracle,
            IOracle::setUnderlyingPriceCall {
                market,
                price: units(2000),
            },
        )
        .await;
    assert_eq!(compound.open().await, [true; 3]);
    compound.world.stop().await;
}

/// What the admin had paused is neither the guard's to open, nor in its way; an admin who has left is seen by the rehearsal.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_comptrollers_admin_had_paused_stays_paused() {
    let compound = Compound::behind_the_switch().await;
    let world = &compound.world;
    let (market, paused) = (compound.usd, true);
    let pause = IComptroller::_setBorrowPausedCall { market, paused }.abi_encode();
    let (target, data) = (compound.comptroller, pause.into());
    let administer = ISwitch::administerCall { target, data };
    world.send(OWNER, compound.switch, administer).await;
    world.send(GUARDIAN, world.guard, contain(1, Level::Halted, HOUR)).await;
    world.pass(6 * HOUR).await;
    assert_eq!(compound.settle(1).await, 1, "seizing alone was the guard's");
    assert_eq!(compound.open().await, [false, true, true]);
    let health = ICordonGuard::healthCall {};
    assert_eq!(world.ask(world.guard, &health).await.failing, U256::ZERO);
    world
        .send(OWNER, compound.switch, ISwitch::handBackCall { admin: OWNER })
        .await;
    compound.admin(IComptroller::_acceptAdminCall {}).await;
    let failing = world.ask(world.guard, &health).await.failing;
    assert_eq!(failing, U256::from(0b110), "the pause that is set needs no call");
    compound.world.stop().await;
}

/// Without the adapter: what a pause guardian closes stays closed when the guard's level has run out, until the admin opens it. So
/// only what leaves repayment open can be closed that way.
#[tokio::test(flavor = "multi_thread")]
async fn a_guard_that_is_pause_guardian_leaves_closed_what_it_closed() {
    let mut compound = Compound::new().await;
    let text = compound.configuration(EVERYTHING_DIRECTLY);
    let refused = Config::parse(&text, PathBuf::from("adapters.toml")).expect_err("nobody would open repayment again");
    assert!(refused.to_string().contains("needs `undo`"), "{refused}");
    let text = compound.configuration(DIRECTLY);
    compound.world.guard = compound.world.guarded(&text).await;
    let guardian = compound.world.guard;
    compound.admin(IComptroller::_setPauseGuardianCall { guardian }).await;
    let world = &compound.world;
    world.send(OWNER, world.guard, ICordonGuard::sealCall {}).await;
    let contained = world
        .send(GUARDIAN, world.guard, contain(1, Level::ReduceOnly, HOUR))
        .await;
    assert_eq!(count::<ICordonGuard::ContainmentApplied>(&contained), 1);
    eprintln!("contain as pause guardian: {} gas", contained.gas_used);
    world.pass(4 * HOUR).await;
    assert_eq!(compound.settle(1).await, 0);
    let levels = world
        .ask(world.guard, &ICordonGuard::scopeStatusCall { scope: 1 })
        .await;
    assert_eq!(levels.level, Level::Normal);
    assert_eq!(compound.open().await, [false, true, true]);
    let (market, paused) = (compound.usd, false);
    compound
        .admin(IComptroller::_setBorrowPausedCall { market, paused })
        .await;
    assert_eq!(compound.open().await, [true; 3]);
    compound.world.stop().await;
}
