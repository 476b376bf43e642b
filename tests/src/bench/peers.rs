//! What guards of others cost, as they publish it or as their published sources were measured to.

/// System, what of it, gas, where the figure is from.
const PEERS: [(&str, &str, &str, Source); 13] = [
    (
        "ERC-7265 reference breaker (`DeFi-Circuit-Breaker/v1-core`)",
        "inflow, same five minutes / new ones",
        "28,600 / 103,600",
        Source::Measured,
    ),
    (
        "the same",
        "outflow, same five minutes / new ones",
        "43,400 / 82,900",
        Source::Measured,
    ),
    (
        "the same",
        "outflow after 40 expired ticks: the loop has no bound",
        "293,000",
        Source::Measured,
    ),
    ("the same", "outflow that trips", "141,700", Source::Measured),
    (
        "ERC-7265 packed buffer (`DeFi-Circuit-Breaker/erc7265`), a library in the same contract",
        "inflow / outflow",
        "7,400 / 7,500",
        Source::Measured,
    ),
    (
        "Ironblocks firewall (`ironblocks/onchain-firewall`)",
        "hooks without any policy: no firewall set / one set",
        "2,300 / 15,400",
        Source::Measured,
    ),
    (
        "the same",
        "hooks with OnlyEOA / NonReentrant / BalanceChange of one token",
        "23,200 / 35,300 / 49,400",
        Source::Measured,
    ),
    (
        "Lido `CircuitBreaker` (`lidofinance/circuit-breaker`)",
        "`heartbeat` / `pause`",
        "32,300 / 85,800",
        Source::Measured,
    ),
    (
        "Phylax Credible Layer",
        "budget of an assertion, which runs beside the chain; the user pays nothing",
        "3,000,000",
        Source::Published("`credible-sdk`, `crates/sidecar/README.md`"),
    ),
    (
        "the same",
        "oracle guard of an Aave v3 borrow, two assets",
        "186,556",
        Source::Published("`credible-std`, `AAVE_V3_ASSERTION_REVIEW.md`"),
    ),
    (
        "the same",
        "the same over two borrows in one transaction",
        "241,607",
        Source::Published("`credible-std`, `AAVE_V3_ASSERTION_REVIEW.md`"),
    ),
    (
        "the same",
        "a manipulation by flash loan, caught",
        "211,875",
        Source::Published("`credible-std`, `AAVE_V3_ASSERTION_REVIEW.md`"),
    ),
    (
        "the same",
        "oracle guard, eight assets",
        "586,471",
        Source::Published("`credible-std`, `AAVE_V3_ASSERTION_REVIEW.md`"),
    ),
];

/// Where a figure is from.
enum Source {
    /// Their published source, run for this comparison.
    Measured,
    /// Their own document.
    Published(&'static str),
}

/// Prints the table.
pub(super) fn print() {
    println!("Guards of others:\n");
    println!("| guard | what | gas | source |\n| --- | --- | ---: | --- |");
    for (system, what, gas, source) in &PEERS {
        let source = match source {
            Source::Measured => "measured",
            Source::Published(whence) => whence,
        };
        println!("| {system} | {what} | {gas} | {source} |");
    }
    println!(
        "\n\"Measured\": they publish no figure. Their sources, compiled by solc with 200 optimiser runs, in py-evm; the second of two calls, \
         less the same call of a twin without the guard, as whole receipts. Our hooks are the calls alone, as their caller pays them.\n"
    );
}
