// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.24;

import { Real } from "./Real.sol";

interface IRealSafe {
    function setup(
        address[] calldata owners,
        uint256 threshold,
        address to,
        bytes calldata data,
        address fallbackHandler,
        address paymentToken,
        uint256 payment,
        address payable paymentReceiver
    ) external;
    function nonce() external view returns (uint256);
    function isOwner(address owner) external view returns (bool);
    function enableModule(address module) external;
    function disableModule(address previous, address module) external;
    function setGuard(address guard) external;
    function addOwnerWithThreshold(address owner, uint256 threshold) external;
    function removeOwner(address previous, address owner, uint256 threshold) external;
    function getTransactionHash(
        address to,
        uint256 value,
        bytes calldata data,
        uint8 operation,
        uint256 safeTxGas,
        uint256 baseGas,
        uint256 gasPrice,
        address gasToken,
        address refundReceiver,
        uint256 nonce
    ) external view returns (bytes32);
    function execTransaction(
        address to,
        uint256 value,
        bytes calldata data,
        uint8 operation,
        uint256 safeTxGas,
        uint256 baseGas,
        uint256 gasPrice,
        address gasToken,
        address payable refundReceiver,
        bytes calldata signatures
    ) external payable returns (bool);
}

interface ISafeFactory {
    function createProxyWithNonce(address singleton, bytes calldata initializer, uint256 salt)
        external
        returns (address);
}

/// A published Safe 1.4.1 of two owners, both of whom sign.
abstract contract SafeSupport is Real {
    uint256 internal constant ONE = 0xA1;
    uint256 internal constant TWO = 0xB2;

    IRealSafe internal safe;
    address internal singleton;
    address internal batches;

    function makeSafe() internal {
        singleton = real(string.concat(SAFE, "Safe.sol/Safe.json"), "");
        address factory = real(string.concat(SAFE, "proxies/SafeProxyFactory.sol/SafeProxyFactory.json"), "");
        batches = real(string.concat(SAFE, "libraries/MultiSendCallOnly.sol/MultiSendCallOnly.json"), "");
        address[] memory owners = new address[](2);
        (owners[0], owners[1]) = (files.addr(ONE), files.addr(TWO));
        bytes memory setup = abi.encodeCall(
            IRealSafe.setup, (owners, 2, address(0), "", address(0), address(0), 0, payable(address(0)))
        );
        safe = IRealSafe(ISafeFactory(factory).createProxyWithNonce(singleton, setup, 1));
        files.deal(address(safe), 1000 ether);
    }

    /// A transaction of the Safe that both owners signed.
    function execute(address to, uint256 value, bytes memory data, uint8 operation) internal {
        executePaying(to, value, data, operation, 0);
    }

    function executePaying(address to, uint256 value, bytes memory data, uint8 operation, uint256 gasPrice) internal {
        bytes memory proof = signed(to, value, data, operation, gasPrice);
        safe.execTransaction(to, value, data, operation, 0, 0, gasPrice, address(0), payable(address(this)), proof);
    }

    /// Signatures of both owners, in the order of their addresses.
    function signed(address to, uint256 value, bytes memory data, uint8 operation, uint256 gasPrice)
        internal
        view
        returns (bytes memory)
    {
        bytes32 digest = safe.getTransactionHash(
            to, value, data, operation, 0, 0, gasPrice, address(0), address(this), safe.nonce()
        );
        return signatures(digest);
    }

    function signatures(bytes32 digest) internal pure returns (bytes memory) {
        (bytes memory one, bytes memory two) = (_signature(ONE, digest), _signature(TWO, digest));
        return files.addr(ONE) < files.addr(TWO) ? bytes.concat(one, two) : bytes.concat(two, one);
    }

    function _signature(uint256 key, bytes32 digest) private pure returns (bytes memory) {
        (uint8 v, bytes32 r, bytes32 s) = files.sign(key, digest);
        return abi.encodePacked(r, s, v);
    }

    /// One part of a batch.
    function part(address to, uint256 value, bytes memory data, uint8 operation) internal pure returns (bytes memory) {
        return abi.encodePacked(operation, to, value, data.length, data);
    }

    receive() external payable { }
}
