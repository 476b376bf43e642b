-- Which keeper has found which breach by itself, for what several have to agree on.
CREATE TABLE votes (
    keeper   TEXT NOT NULL,
    rule     BIGINT NOT NULL,
    words    BYTEA NOT NULL,
    block    BIGINT NOT NULL,
    breached BIGINT NOT NULL, -- 0 when the keeper finds that the rule holds
    at_ms    BIGINT NOT NULL,
    PRIMARY KEY (keeper, rule, words)
);
