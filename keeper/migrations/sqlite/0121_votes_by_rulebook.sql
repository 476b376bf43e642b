-- Votes are about a rule of a rulebook: the same number is another rule in another. Those that are here are over within seconds.
DROP TABLE votes;
CREATE TABLE votes (
    keeper   TEXT NOT NULL,
    version  BLOB NOT NULL, -- code hash of the rulebook
    rule     INTEGER NOT NULL,
    words    BLOB NOT NULL,
    block    INTEGER NOT NULL,
    breached INTEGER NOT NULL, -- 0 when the keeper finds that the rule holds
    at_ms    INTEGER NOT NULL,
    PRIMARY KEY (keeper, version, rule, words)
);
