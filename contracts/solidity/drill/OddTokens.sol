// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.20;

/// @title ERC-20s that behave as some real ones do. Anyone may mint.
abstract contract OddToken {
    event Transfer(address indexed from, address indexed to, uint256 amount);

    error InsufficientBalance(address account, uint256 balance, uint256 needed);

    mapping(address => uint256) internal _units;

    function mint(address to, uint256 amount) external virtual {
        _units[to] += amount;
        emit Transfer(address(0), to, amount);
    }

    function balanceOf(address account) public view virtual returns (uint256) {
        return _units[account];
    }

    /// Takes `taken` from one and gives `given` to another.
    function _move(address from, address to, uint256 taken, uint256 given) internal {
        uint256 balance = _units[from];
        if (balance < taken) revert InsufficientBalance(from, balance, taken);
        _units[from] = balance - taken;
        _units[to] += given;
        emit Transfer(from, to, given);
    }
}

/// @title Answers nothing, as USDT does.
contract SilentToken is OddToken {
    function transfer(address to, uint256 amount) external {
        _move(msg.sender, to, amount, amount);
    }
}

/// @title Keeps 2 % of every transfer.
contract FeeToken is OddToken {
    function transfer(address to, uint256 amount) external returns (bool) {
        _move(msg.sender, to, amount, amount - amount / 50);
        return true;
    }
}

/// @title All balances move with an index, as those of staked assets do.
contract RebasingToken is OddToken {
    uint256 public index = 1e18;

    function rebase(uint256 newIndex) external {
        index = newIndex;
    }

    function mint(address to, uint256 amount) external override {
        _units[to] += amount * 1e18 / index;
    }

    function balanceOf(address account) public view override returns (uint256) {
        return _units[account] * index / 1e18;
    }

    function transfer(address to, uint256 amount) external returns (bool) {
        uint256 units = amount * 1e18 / index;
        _move(msg.sender, to, units, units);
        return true;
    }
}

/// @title Refuses whom it has blocked, and calls the recipient, as ERC-777 does.
contract PickyToken is OddToken {
    mapping(address => bool) public blocked;

    error Blocked(address account);

    function block_(address account, bool yes) external {
        blocked[account] = yes;
    }

    function transfer(address to, uint256 amount) external returns (bool) {
        if (blocked[to]) revert Blocked(to);
        _move(msg.sender, to, amount, amount);
        if (to.code.length != 0) {
            (bool ok,) = to.call(abi.encodeWithSignature("received(address,uint256)", address(this), amount));
            ok;
        }
        return true;
    }
}
