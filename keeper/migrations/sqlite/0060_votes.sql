-- Which keeper has found which breach by itself, for what several have to agree on.
CREATE TABLE votes (
    keeper   TEXT NOT NULL,
    rule     INTEGER NOT NULL,
    words    BLOB NOT NULL,
    block    INTEGER NOT NULL,
    breached INTEGER NOT NULL, -- 0 when the keeper finds that the rule holds
    at_ms    INTEGER NOT NULL,
    PRIMARY KEY (keeper, rule, words)
);
