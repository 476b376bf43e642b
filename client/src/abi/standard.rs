//! Interfaces that are known by name.

use alloy::json_abi::JsonAbi;

/// Names that `abi = "…"` accepts besides files.
pub const STANDARDS: [&str; 2] = ["erc20", "erc4626"];

const ERC20: &[&str] = &[
    "function name() view returns (string)",
    "function symbol() view returns (string)",
    "function decimals() view returns (uint8)",
    "function totalSupply() view returns (uint256)",
    "function balanceOf(address account) view returns (uint256)",
    "function allowance(address owner, address spender) view returns (uint256)",
    "function transfer(address to, uint256 amount) returns (bool)",
    "function approve(address spender, uint256 amount) returns (bool)",
    "function transferFrom(address from, address to, uint256 amount) returns (bool)",
    "event Transfer(address indexed from, address indexed to, uint256 value)",
    "event Approval(address indexed owner, address indexed spender, uint256 value)",
];

const ERC4626: &[&str] = &[
    "function asset() view returns (address)",
    "function totalAssets() view returns (uint256)",
    "function convertToShares(uint256 assets) view returns (uint256)",
    "function convertToAssets(uint256 shares) view returns (uint256)",
    "function maxDeposit(address receiver) view returns (uint256)",
    "function previewDeposit(uint256 assets) view returns (uint256)",
    "function deposit(uint256 assets, address receiver) returns (uint256)",
    "function maxMint(address receiver) view returns (uint256)",
    "function previewMint(uint256 shares) view returns (uint256)",
    "function mint(uint256 shares, address receiver) returns (uint256)",
    "function maxWithdraw(address owner) view returns (uint256)",
    "function previewWithdraw(uint256 assets) view returns (uint256)",
    "function withdraw(uint256 assets, address receiver, address owner) returns (uint256)",
    "function maxRedeem(address owner) view returns (uint256)",
    "function previewRedeem(uint256 shares) view returns (uint256)",
    "function redeem(uint256 shares, address receiver, address owner) returns (uint256)",
    "event Deposit(address indexed sender, address indexed owner, uint256 assets, uint256 shares)",
    "event Withdraw(address indexed sender, address indexed receiver, address indexed owner, uint256 assets, uint256 shares)",
];

/// The interface of a known name; an ERC-4626 vault is an ERC-20 token too. `None` for other names.
pub fn standard(name: &str) -> Option<JsonAbi> {
    let signatures: Vec<&str> = match name {
        "erc20" => ERC20.to_vec(),
        "erc4626" => ERC20.iter().chain(ERC4626).copied().collect(),
        _ => return None,
    };
    JsonAbi::parse(signatures).ok()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn every_standard_parses_with_known_selectors() {
        let vault = standard("erc4626").unwrap();
        let selector = |name: &str| vault.function(name).unwrap().first().unwrap().selector().to_string();
        assert_eq!(selector("balanceOf"), "0x70a08231");
        assert_eq!(selector("convertToAssets"), "0x07a2d13a");
        assert_eq!(vault.functions().count(), ERC20.len() + ERC4626.len() - 4);
        assert!(standard("erc20").unwrap().function("convertToAssets").is_none());
        assert!(STANDARDS.iter().all(|name| standard(name).is_some()));
    }
}
