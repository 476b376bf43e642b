-- Votes are about a rule of a rulebook: the same number is another rule in another. Those that are here are over within seconds.
DROP TABLE votes;
CREATE TABLE votes (
    keeper   TEXT NOT NULL,
    version  BYTEA NOT NULL, -- code hash of the rulebook
    rule     BIGINT NOT NULL,
    words    BYTEA NOT NULL,
    block    BIGINT NOT NULL,
    breached BIGINT NOT NULL, -- 0 when the keeper finds that the rule holds
    at_ms    BIGINT NOT NULL,
    PRIMARY KEY (keeper, version, rule, words)
);
