// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.20;

import { GuardBound } from "./GuardBound.sol";

/// What is used of a Comptroller of the Compound v2 kind, behind its Unitroller.
interface IComptroller {
    function _acceptAdmin() external returns (uint256);
    function _setPendingAdmin(address newPendingAdmin) external returns (uint256);
    function _setMintPaused(address market, bool paused) external returns (bool);
    function _setBorrowPaused(address market, bool paused) external returns (bool);
    function _setTransferPaused(bool paused) external returns (bool);
    function _setSeizePaused(bool paused) external returns (bool);
    function _setProtocolPaused(bool paused) external returns (bool);
    function mintAllowed(address market, address minter, uint256 amount) external returns (uint256);
    function borrowAllowed(address market, address borrower, uint256 amount) external returns (uint256);
    function transferAllowed(address market, address from, address to, uint256 tokens) external returns (uint256);
    function seizeAllowed(address collateral, address borrowed, address liquidator, address borrower, uint256 tokens)
        external
        returns (uint256);
    function protocolPaused() external view returns (bool);
}

/// @title Lets a guard set a few pauses of a Compound v2 Comptroller, and take them back.
/// @notice Compound's pause guardian can pause, and only the admin opens again: a guard that is pause guardian closes what it cannot open. The
/// admin can also replace the Comptroller, its oracle and its factors. This contract is the admin. The guard sets the pauses named at its
/// deployment, and takes back those it set. The owner (the protocol's timelock) administers through it, and takes the admin back with `handBack`.
/// @dev A pause is read as those who meet it do, by asking for the action, for not every Comptroller of the kind shows its flags. A Comptroller
/// keeps one flag per pause: when its own pause guardian sets a pause that the guard has set already, nobody can tell, and the guard opens it.
contract ComptrollerSwitch is GuardBound {
    /// The pauses of the kind. `Protocol` is Venus's (0.7.0 and before): it closes repayment and liquidation too.
    enum Pause {
        Mint,
        Borrow,
        Transfer,
        Seize,
        Protocol
    }

    /// A pause, and the market that it is about: the Comptroller itself where it is about all of them.
    struct Lever {
        Pause pause;
        address market;
    }

    struct State {
        bool known;
        bool closedHere;
        uint64 restsUntil;
    }

    /// Only the owner may do this.
    error NotOwner(address caller);
    /// The pause was not named at deployment.
    error UnknownLever(Pause pause, address market);
    /// No pause was named, or one twice, or one of a market for the Comptroller, or one of the Comptroller for a market.
    error BadLever(uint256 index);
    error NoOwner();
    /// Somebody else has set the pause: there is nothing to close, and nothing to open later.
    error AlreadyClosed(Pause pause, address market);
    /// The whole protocol is paused, so that nobody can tell whether somebody else has set this pause. To be retried.
    error HiddenByProtocolPause();
    /// The guard has not set the pause.
    error NotClosedHere(Pause pause, address market);
    /// The owner has opened what the guard had closed: containment that is retried must not close it again.
    error JustOpened(uint256 until);
    /// The Comptroller answered with this code of its own instead of doing it.
    error ComptrollerRefused(uint256 code);
    /// With less gas a pause that is set might look as if it were not.
    error GasBelowFloor(uint256 needed, uint256 left);

    event Closed(Pause indexed pause, address indexed market);
    event Opened(Pause indexed pause, address indexed market);
    event ChangedByOwner(Pause indexed pause, address indexed market, bool paused);
    event HandedBack(address indexed newAdmin);

    /// For how long, in seconds, the guard cannot set a pause again that the owner took back while it was the guard's: as long as the guard
    /// holds anything without its governor.
    uint256 public constant OPENED_REST = 7 days;

    /// Gas of a question. A pause that is set answers with less than 20,000; one that is not may burn all of it in a refused write.
    uint256 private constant ASK_GAS = 60_000;

    bytes32 private constant PROTOCOL_PAUSED =
        keccak256(abi.encodeWithSignature("Error(string)", "protocol is paused"));

    IComptroller public immutable comptroller;
    address public immutable owner;

    mapping(Pause pause => mapping(address market => State)) public states;

    modifier onlyOwner() {
        if (msg.sender != owner) revert NotOwner(msg.sender);
        _;
    }

    constructor(address binder_, IComptroller comptroller_, address owner_, Lever[] memory levers) GuardBound(binder_) {
        if (address(comptroller_).code.length == 0) revert NotAContract(address(comptroller_));
        if (owner_ == address(0)) revert NoOwner();
        if (levers.length == 0) revert BadLever(0);
        comptroller = comptroller_;
        owner = owner_;
        for (uint256 i = 0; i < levers.length; ++i) {
            (Pause pause, address market) = (levers[i].pause, levers[i].market);
            bool ofOneMarket = pause == Pause.Mint || pause == Pause.Borrow;
            if (market == address(0) || (market == address(comptroller_)) == ofOneMarket) revert BadLever(i);
            if (states[pause][market].known) revert BadLever(i);
            states[pause][market].known = true;
        }
    }

    // ---------------------------------------------------------------- the guard's

    /// Sets the pause; not within `OPENED_REST` of its opening by the owner.
    function close(Pause pause, address market) external onlyGuard {
        State storage state = _known(pause, market);
        if (block.timestamp < state.restsUntil) revert JustOpened(state.restsUntil);
        (bool closed, bool hidden) = _ask(pause, market);
        if (closed) revert AlreadyClosed(pause, market);
        if (hidden) revert HiddenByProtocolPause();
        state.closedHere = true;
        emit Closed(pause, market);
        _set(pause, market, true);
    }

    /// Takes the pause back, if the guard set it.
    function open(Pause pause, address market) external onlyGuard {
        State storage state = _known(pause, market);
        if (!state.closedHere) revert NotClosedHere(pause, market);
        state.closedHere = false;
        emit Opened(pause, market);
        _set(pause, market, false);
    }

    /// Whether the pause is set, whoever set it: the read-back of the containment call. While the whole protocol is paused, whether the guard
    /// set it.
    function isClosed(Pause pause, address market) external view returns (bool) {
        State storage state = _known(pause, market);
        (bool closed, bool hidden) = _ask(pause, market);
        return hidden ? state.closedHere : closed;
    }

    // ---------------------------------------------------------------- the owner's

    /// Becomes the Comptroller's admin, once its admin has named this contract with `_setPendingAdmin`. Open to anyone.
    function accept() external {
        _require(comptroller._acceptAdmin());
    }

    /// A call of the admin: to the Comptroller, or to a new implementation that is to become it. Pauses that the owner changes are the
    /// owner's from then on.
    function administer(address target, bytes calldata data) external onlyOwner returns (bytes memory) {
        if (target == address(comptroller)) _note(data);
        (bool done, bytes memory answer) = target.call(data);
        if (!done) {
            assembly {
                revert(add(answer, 32), mload(answer))
            }
        }
        return answer;
    }

    /// Offers the admin to `newAdmin`, who takes it with `_acceptAdmin`; from then on this contract can do nothing. What is closed
    /// stays closed until the new admin opens it.
    function handBack(address newAdmin) external onlyOwner {
        emit HandedBack(newAdmin);
        _require(comptroller._setPendingAdmin(newAdmin));
    }

    // ---------------------------------------------------------------- inside

    function _known(Pause pause, address market) private view returns (State storage state) {
        state = states[pause][market];
        if (!state.known) revert UnknownLever(pause, market);
    }

    function _require(uint256 code) private pure {
        if (code != 0) revert ComptrollerRefused(code);
    }

    function _set(Pause pause, address market, bool paused) private {
        if (pause == Pause.Mint) comptroller._setMintPaused(market, paused);
        else if (pause == Pause.Borrow) comptroller._setBorrowPaused(market, paused);
        else if (pause == Pause.Transfer) comptroller._setTransferPaused(paused);
        else if (pause == Pause.Seize) comptroller._setSeizePaused(paused);
        else comptroller._setProtocolPaused(paused);
    }

    /// Asks for the action that the pause closes, for nobody and nothing: whether it is refused for the pause, or for the whole protocol's.
    function _ask(Pause pause, address market) private view returns (bool closed, bool hidden) {
        uint256 needed = ASK_GAS + ASK_GAS / 63 + 30_000;
        if (gasleft() < needed) revert GasBelowFloor(needed, gasleft());
        if (pause == Pause.Protocol) return (comptroller.protocolPaused(), false);
        (bytes memory question, string memory refusal) = _question(pause, market);
        (bool done, bytes memory answer) = address(comptroller).staticcall{ gas: ASK_GAS }(question);
        if (done) return (false, false);
        bytes32 reason = keccak256(answer);
        closed = reason == keccak256(abi.encodeWithSignature("Error(string)", refusal));
        hidden = reason == PROTOCOL_PAUSED;
    }

    /// The words are those of Compound's Comptroller since 2020, and of its forks. One that has others shows no effect in the guard's rehearsal.
    function _question(Pause pause, address market) private pure returns (bytes memory, string memory) {
        address none = address(0);
        if (pause == Pause.Mint) {
            return (abi.encodeCall(IComptroller.mintAllowed, (market, none, 0)), "mint is paused");
        }
        if (pause == Pause.Borrow) {
            return (abi.encodeCall(IComptroller.borrowAllowed, (market, none, 0)), "borrow is paused");
        }
        if (pause == Pause.Transfer) {
            return (abi.encodeCall(IComptroller.transferAllowed, (none, none, none, 0)), "transfer is paused");
        }
        return (abi.encodeCall(IComptroller.seizeAllowed, (none, none, none, none, 0)), "seize is paused");
    }

    /// Notes that the owner changes a pause.
    function _note(bytes calldata data) private {
        bytes4 call = data.length < 4 ? bytes4(0) : bytes4(data[:4]);
        bool mint = call == IComptroller._setMintPaused.selector;
        if (mint || call == IComptroller._setBorrowPaused.selector) {
            (address market, bool paused) = abi.decode(data[4:], (address, bool));
            _changed(mint ? Pause.Mint : Pause.Borrow, market, paused);
        } else if (call == IComptroller._setTransferPaused.selector) {
            _changed(Pause.Transfer, address(comptroller), abi.decode(data[4:], (bool)));
        } else if (call == IComptroller._setSeizePaused.selector) {
            _changed(Pause.Seize, address(comptroller), abi.decode(data[4:], (bool)));
        } else if (call == IComptroller._setProtocolPaused.selector) {
            _changed(Pause.Protocol, address(comptroller), abi.decode(data[4:], (bool)));
        }
    }

    function _changed(Pause pause, address market, bool paused) private {
        State storage state = states[pause][market];
        if (!state.known) return;
        emit ChangedByOwner(pause, market, paused);
        if (paused) state.restsUntil = 0;
        else if (state.closedHere) state.restsUntil = uint64(block.timestamp + OPENED_REST);
        state.closedHere = false;
    }
}
