// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.20;

/// A price feed as Chainlink publishes it.
interface AggregatorV3Interface {
    function decimals() external view returns (uint8);
    function description() external view returns (string memory);
    function version() external view returns (uint256);
    function getRoundData(uint80 roundId)
        external
        view
        returns (uint80 id, int256 answer, uint256 startedAt, uint256 updatedAt, uint80 answeredInRound);
    function latestRoundData()
        external
        view
        returns (uint80 id, int256 answer, uint256 startedAt, uint256 updatedAt, uint80 answeredInRound);
}

/// @title A price feed that is checked where it is used, behind the interface that consumers know.
/// @notice Every read checks the primary feed (answering, positive, within hard bounds, young enough, not from the future, not carried over from an earlier round), the second feed alike,
/// how far they are apart, how far the price is from an anchor that is at least `anchorPeriod` old, and whether the L2's sequencer is up
/// and has been for a while. Decided fallbacks: a primary that is unusable is replaced by the second feed; two usable feeds that disagree
/// give no price. `latestRoundData` and `latestAnswer` are strict. `priceFor(true)` is for what lowers one's own risk (repaying, adding
/// collateral, getting out): there the anchor and a disagreement do not stop the reader, nor does the sequencer while the feeds agree; of two prices that
/// disagree it gets the one nearer to the anchor, the primary's when there is none, and not before the sequencer has been up for a while.
/// `priceForLiquidation` is the same for those who act on somebody else's account, but never while the sequencer is down or has just come
/// back: who could not repay in the meantime gets the grace to. An uptime feed that does not answer stops no liquidation.
/// @dev Immutable, without roles: other bounds are another feed. The anchor cannot be poisoned faster than `anchorBps` per period, for it is
/// only ever moved to a price that passed all checks, and it ends two periods after it was last moved, so that a true jump stops readers for so long at most. Who moves it at least every two
/// periods is never without one.
contract GuardedPriceFeed is AggregatorV3Interface {
    /// Why a feed is unusable.
    enum Fault {
        None,
        Absent,
        Silent,
        NotPositive,
        OutOfBounds,
        FromTheFuture,
        TooOld,
        CarriedOver // answered in an earlier round, or a round number that no feed has
    }

    struct Settings {
        AggregatorV3Interface primary;
        AggregatorV3Interface second; // zero: none
        AggregatorV3Interface sequencer; // Chainlink's L2 uptime feed; zero: none
        uint256 primaryMaxAge; // seconds
        uint256 secondMaxAge; // seconds
        uint256 deviationBps; // most distance of the two feeds, of the smaller one
        uint256 anchorBps; // most distance from the anchor; 0: no anchor
        uint256 anchorPeriod; // seconds
        uint256 sequencerGrace; // seconds after the sequencer came back
        int256 least; // hard bounds, in the primary's decimals
        int256 most;
    }

    struct Price {
        int256 answer;
        uint256 updatedAt;
        Fault fault;
        uint80 round; // with SECOND when it is one of the second feed
    }

    struct Anchor {
        uint128 answer;
        uint64 at;
    }

    error BadSettings(string what);
    error SequencerDown(uint256 since);
    error SequencerJustUp(uint256 since, uint256 until);
    error PriceUnavailable(Fault primary, Fault second);
    error PricesDisagree(int256 primary, int256 second, uint256 bps);
    error PriceJumped(int256 answer, int256 anchor, uint256 bps);
    error AnchorTooYoung(uint256 until);
    error UnknownRound(uint80 round);
    /// Less gas is left than a feed may need: without this floor a caller could starve one feed, and choose the other.
    error GasBelowFloor(uint256 needed, uint256 left);

    event AnchorMoved(int256 answer, uint256 at);

    uint256 private constant BPS = 10_000;
    /// Most seconds of a period or a grace.
    uint256 private constant LONGEST = 365 days;
    /// Gas of one question to a feed.
    uint256 private constant ASK_GAS = 100_000;
    /// Marks the rounds of the second feed. Proxies count phases in the 16 bits from bit 64 on, one for each aggregator they have had.
    uint80 private constant SECOND = 1 << 79;

    AggregatorV3Interface public immutable primary;
    AggregatorV3Interface public immutable second;
    AggregatorV3Interface public immutable sequencer;
    uint256 public immutable primaryMaxAge;
    uint256 public immutable secondMaxAge;
    uint256 public immutable deviationBps;
    uint256 public immutable anchorBps;
    uint256 public immutable anchorPeriod;
    uint256 public immutable sequencerGrace;
    int256 public immutable least;
    int256 public immutable most;
    uint8 public immutable override decimals;
    uint8 private immutable secondDecimals;

    /// What is compared with: stored by `moveAnchor`.
    Anchor public anchor;
    /// The next anchor, until it is old enough.
    Anchor public nextAnchor;

    constructor(Settings memory settings) {
        if (address(settings.primary).code.length == 0) revert BadSettings("primary");
        if (settings.primaryMaxAge == 0) revert BadSettings("primaryMaxAge");
        if (settings.least <= 0 || settings.most <= settings.least) revert BadSettings("bounds");
        if (settings.most > int256(uint256(type(uint128).max))) revert BadSettings("most");
        bool hasSecond = address(settings.second) != address(0);
        if (hasSecond && (settings.secondMaxAge == 0 || settings.deviationBps == 0)) revert BadSettings("second");
        if (settings.anchorBps != 0 && settings.anchorPeriod == 0) revert BadSettings("anchorPeriod");
        // Longer ones are mistakes, and sums of times stay far from overflow.
        if (settings.anchorPeriod > LONGEST) revert BadSettings("anchorPeriod");
        if (settings.sequencerGrace > LONGEST) revert BadSettings("sequencerGrace");
        primary = settings.primary;
        second = settings.second;
        sequencer = settings.sequencer;
        primaryMaxAge = settings.primaryMaxAge;
        secondMaxAge = settings.secondMaxAge;
        deviationBps = settings.deviationBps;
        anchorBps = settings.anchorBps;
        anchorPeriod = settings.anchorPeriod;
        sequencerGrace = settings.sequencerGrace;
        least = settings.least;
        most = settings.most;
        decimals = settings.primary.decimals();
        secondDecimals = hasSecond ? settings.second.decimals() : 0;
        if (decimals > 18 || secondDecimals > 18) revert BadSettings("decimals");
    }

    // ---------------------------------------------------------------- reading

    /// The checked price. The round is that of the feed it comes from, and `getRoundData` knows it; numbers of the second feed are greater than
    /// those of the primary, so they do not grow with time when the price comes from the one and then from the other.
    function latestRoundData()
        external
        view
        override
        returns (uint80 id, int256 answer, uint256 startedAt, uint256 updatedAt, uint80 answeredInRound)
    {
        Price memory price = _checked(false);
        return (price.round, price.answer, price.updatedAt, price.updatedAt, price.round);
    }

    /// The checked price, for consumers of the older interface.
    function latestAnswer() external view returns (int256) {
        return _checked(false).answer;
    }

    /// The price for an action: strict unless it lowers risk.
    /// @return answer in `decimals`.
    /// @return updatedAt when its feed published it.
    function priceFor(bool lowersRisk) external view returns (int256 answer, uint256 updatedAt) {
        Price memory price = _checked(lowersRisk);
        return (price.answer, price.updatedAt);
    }

    /// The price at which others may be liquidated: as `priceFor(true)`, and only when the sequencer has been up for the grace period. What an
    /// uptime feed does not say stops nothing: a false alarm must not hold liquidations up when they are needed most.
    function priceForLiquidation() external view returns (int256 answer, uint256 updatedAt) {
        _requireNoOutage();
        Price memory price = _checked(true);
        return (price.answer, price.updatedAt);
    }

    /// The history of the feed that the round is one of, unchecked, in `decimals`.
    function getRoundData(uint80 roundId)
        external
        view
        override
        returns (uint80 id, int256 answer, uint256 startedAt, uint256 updatedAt, uint80 answeredInRound)
    {
        if (roundId & SECOND == 0) return primary.getRoundData(roundId);
        if (address(second) == address(0)) revert UnknownRound(roundId);
        (, answer, startedAt, updatedAt, answeredInRound) = second.getRoundData(roundId ^ SECOND);
        return (roundId, _scaled(answer, secondDecimals), startedAt, updatedAt, answeredInRound | SECOND);
    }

    function description() external view override returns (string memory) {
        return primary.description();
    }

    function version() external pure override returns (uint256) {
        return 1;
    }

    // ---------------------------------------------------------------- anchor

    /// Moves the anchor, at most once in a period: what was stored a period ago is compared with from now on. Anyone may, and only while
    /// the price passes all checks. One that had ended leaves none behind: what was stored then is too old to be compared with.
    function moveAnchor() external {
        uint256 ready = uint256(nextAnchor.at) + anchorPeriod;
        if (nextAnchor.at != 0 && block.timestamp < ready) revert AnchorTooYoung(ready);
        int256 answer = _checked(false).answer;
        if (_anchorLives()) anchor = nextAnchor;
        else delete anchor;
        nextAnchor = Anchor(uint128(uint256(answer)), uint64(block.timestamp));
        emit AnchorMoved(answer, block.timestamp);
    }

    // ---------------------------------------------------------------- inside

    function _checked(bool lowersRisk) private view returns (Price memory) {
        if (!lowersRisk) _requireSequencer();
        Price memory one = _read(primary, primaryMaxAge, decimals);
        Price memory two = _read(second, secondMaxAge, secondDecimals);
        two.round |= SECOND;
        if (one.fault != Fault.None) {
            if (two.fault != Fault.None) revert PriceUnavailable(one.fault, two.fault);
            one = two;
        } else if (two.fault == Fault.None) {
            uint256 apart = _distance(one.answer, two.answer);
            if (apart > deviationBps) {
                if (!lowersRisk) revert PricesDisagree(one.answer, two.answer, apart);
                _requireSequencer();
                if (_nearerAnchor(two.answer, one.answer)) one = two;
            }
        }
        if (!lowersRisk) _requireNearAnchor(one.answer);
        return one;
    }

    /// Chainlink's uptime feed answers 0 while the sequencer is up, and `startedAt` is when that began; 0 before it was ever set.
    function _requireSequencer() private view {
        if (address(sequencer) == address(0)) return;
        (bool answered, uint256[5] memory words) = _ask(sequencer);
        if (!answered || !_isTime(words[2])) revert SequencerDown(words[2]);
        _requireUp(words[1], words[2]);
    }

    /// The same, but a feed that says nothing says nothing of an outage.
    function _requireNoOutage() private view {
        if (address(sequencer) == address(0)) return;
        (bool answered, uint256[5] memory words) = _ask(sequencer);
        if (answered && (words[1] != 0 || _isTime(words[2]))) _requireUp(words[1], words[2]);
    }

    /// Whether something can have begun then: 0 and what is to come are no answers.
    function _isTime(uint256 since) private view returns (bool) {
        return since != 0 && since <= block.timestamp;
    }

    function _requireUp(uint256 down, uint256 since) private view {
        if (down != 0) revert SequencerDown(since);
        uint256 until = since + sequencerGrace;
        if (block.timestamp < until) revert SequencerJustUp(since, until);
    }

    function _requireNearAnchor(int256 answer) private view {
        (bool lives, int256 old) = _liveAnchor();
        if (!lives) return;
        uint256 apart = _distance(answer, old);
        if (apart > anchorBps) revert PriceJumped(answer, old, apart);
    }

    /// Whether `one` is nearer to the anchor than `other`; never without an anchor.
    function _nearerAnchor(int256 one, int256 other) private view returns (bool) {
        (bool lives, int256 old) = _liveAnchor();
        return lives && _distance(one, old) < _distance(other, old);
    }

    function _liveAnchor() private view returns (bool lives, int256 answer) {
        lives = anchorBps != 0 && anchor.at != 0 && _anchorLives();
        answer = int256(uint256(anchor.answer));
    }

    /// From the time at which it was last moved, which `nextAnchor` tells: it can be moved again a period later, so it ends a period after that.
    function _anchorLives() private view returns (bool) {
        return block.timestamp <= uint256(nextAnchor.at) + 2 * anchorPeriod;
    }

    /// Reads a feed without ever reverting because of it.
    function _read(AggregatorV3Interface feed, uint256 maxAge, uint8 feedDecimals)
        private
        view
        returns (Price memory price)
    {
        if (address(feed) == address(0)) {
            price.fault = Fault.Absent;
            return price;
        }
        (bool answered, uint256[5] memory words) = _ask(feed);
        (int256 answer, uint256 updatedAt) = (int256(words[1]), words[3]);
        price.fault = _fault(answered, answer, updatedAt, maxAge);
        if (price.fault != Fault.None) return price;
        if (words[4] < words[0] || words[0] >= SECOND) {
            price.fault = Fault.CarriedOver;
            return price;
        }
        price.updatedAt = updatedAt;
        price.round = uint80(words[0]);
        // Larger answers than this are out of bounds in any decimals, and would overflow below.
        if (answer > type(int128).max) {
            price.fault = Fault.OutOfBounds;
            return price;
        }
        price.answer = _scaled(answer, feedDecimals);
        if (price.answer < least || price.answer > most) price.fault = Fault.OutOfBounds;
    }

    function _scaled(int256 answer, uint8 feedDecimals) private view returns (int256) {
        if (feedDecimals <= decimals) return answer * int256(10 ** (decimals - feedDecimals));
        return answer / int256(10 ** (feedDecimals - decimals));
    }

    function _fault(bool answered, int256 answer, uint256 updatedAt, uint256 maxAge) private view returns (Fault) {
        if (!answered) return Fault.Silent;
        if (answer <= 0) return Fault.NotPositive;
        if (updatedAt > block.timestamp) return Fault.FromTheFuture;
        if (block.timestamp - updatedAt > maxAge) return Fault.TooOld;
        return Fault.None;
    }

    /// The words of a round, all zero when the feed does not answer.
    function _ask(AggregatorV3Interface feed) private view returns (bool answered, uint256[5] memory words) {
        uint256 needed = ASK_GAS + ASK_GAS / 63 + 10_000;
        if (gasleft() < needed) revert GasBelowFloor(needed, gasleft());
        bytes memory request = abi.encodeCall(AggregatorV3Interface.latestRoundData, ());
        uint256 size;
        assembly ("memory-safe") {
            answered := staticcall(ASK_GAS, feed, add(request, 32), mload(request), words, 160)
            size := returndatasize()
        }
        answered = answered && size >= 160;
        if (!answered) delete words;
    }

    /// Distance in bps of the smaller one, rounded up.
    function _distance(int256 one, int256 two) private pure returns (uint256) {
        (uint256 low, uint256 high) = one < two ? (uint256(one), uint256(two)) : (uint256(two), uint256(one));
        return ((high - low) * BPS + low - 1) / low;
    }
}
