-- The keeper's record. Hashes and words are 32-byte blobs, times with suffix _ms are Unix milliseconds of the wall clock,
-- other times are block timestamps in Unix seconds, big integers are decimal text with a sign.

-- The chain and guard that this record belongs to. One row.
CREATE TABLE identity (
    id       INTEGER PRIMARY KEY CHECK (id = 1),
    chain_id INTEGER NOT NULL,
    guard    BLOB    NOT NULL
);

-- The newest block up to which everything was evaluated without a gap. One row, none before the first block.
CREATE TABLE checkpoint (
    id   INTEGER PRIMARY KEY CHECK (id = 1),
    hash BLOB NOT NULL REFERENCES blocks (hash)
);

-- Blocks that are done: all verdicts and intended actions are stored. `verdicts` is the compact form of record/codec.rs.
CREATE TABLE blocks (
    hash      BLOB PRIMARY KEY,
    number    INTEGER NOT NULL,
    parent    BLOB    NOT NULL,
    timestamp INTEGER NOT NULL,
    canonical INTEGER NOT NULL,
    version   BLOB    NOT NULL,
    verdicts  BLOB    NOT NULL,
    scopes    BLOB    NOT NULL
) WITHOUT ROWID;
CREATE INDEX blocks_by_number ON blocks (number);

CREATE TABLE incidents (
    id                     INTEGER PRIMARY KEY,
    scope                  INTEGER NOT NULL,
    scope_name             TEXT    NOT NULL,
    severity               TEXT    NOT NULL,
    state                  TEXT    NOT NULL,
    chain_incident         INTEGER,
    rule                   INTEGER,
    rule_name              TEXT,
    witness                BLOB    NOT NULL,
    observed               TEXT,
    bound                  TEXT,
    opened_ms              INTEGER NOT NULL,
    opened_block           INTEGER NOT NULL,
    opened_hash            BLOB    NOT NULL,
    opened_time            INTEGER NOT NULL,
    first_bad_block        INTEGER NOT NULL,
    first_bad_time         INTEGER NOT NULL,
    level                  INTEGER NOT NULL DEFAULT 0,
    contained_block        INTEGER,
    contained_hash         BLOB,
    contained_time         INTEGER,
    ended_block            INTEGER,
    ended_hash             BLOB,
    ended_time             INTEGER,
    head_to_decision       INTEGER,
    decision_to_broadcast  INTEGER,
    broadcast_to_contained INTEGER
);
CREATE INDEX incidents_by_scope ON incidents (scope, state);

-- What the keeper means to do. The unique key is what makes an action happen once.
CREATE TABLE intents (
    id            INTEGER PRIMARY KEY,
    incident      INTEGER REFERENCES incidents (id),
    chain_id      INTEGER NOT NULL,
    block_hash    BLOB    NOT NULL,
    rule          INTEGER NOT NULL, -- -1 for actions that answer no rule
    version       BLOB    NOT NULL,
    kind          TEXT    NOT NULL,
    scope         INTEGER NOT NULL,
    level         INTEGER NOT NULL,
    duration      INTEGER NOT NULL,
    witness       BLOB    NOT NULL,
    observed      TEXT    NOT NULL,
    bound         TEXT    NOT NULL,
    block_number  INTEGER NOT NULL,
    block_time    INTEGER NOT NULL,
    decided_ms    INTEGER NOT NULL,
    outcome       TEXT,             -- NULL while it is to be carried out
    detail        TEXT,
    effect_hash   BLOB,
    effect_block  INTEGER,
    effect_time   INTEGER,
    UNIQUE (chain_id, block_hash, rule, version, kind, scope)
);
CREATE INDEX intents_open ON intents (id) WHERE outcome IS NULL;
CREATE INDEX intents_by_rule ON intents (rule, id);
CREATE INDEX intents_by_effect ON intents (effect_hash) WHERE effect_hash IS NOT NULL;

CREATE TABLE transactions (
    hash         BLOB PRIMARY KEY,
    intent       INTEGER NOT NULL REFERENCES intents (id),
    sender       BLOB    NOT NULL,
    nonce        INTEGER NOT NULL,
    raw          BLOB    NOT NULL,
    max_fee      TEXT    NOT NULL,
    priority_fee TEXT    NOT NULL,
    sent_ms      INTEGER NOT NULL,
    status       TEXT    NOT NULL, -- sent, succeeded, reverted, orphaned
    block_number INTEGER,
    block_hash   BLOB,
    gas_used     INTEGER,
    fee          TEXT
) WITHOUT ROWID;
CREATE INDEX transactions_by_intent ON transactions (intent);

-- `mark` makes an entry that comes from the chain appear once, however often its block is looked at.
CREATE TABLE timeline (
    id           INTEGER PRIMARY KEY,
    incident     INTEGER NOT NULL REFERENCES incidents (id),
    at_ms        INTEGER NOT NULL,
    block_number INTEGER,
    block_hash   BLOB,
    block_time   INTEGER,
    kind         TEXT    NOT NULL,
    text         TEXT    NOT NULL,
    tx           BLOB,
    mark         TEXT UNIQUE
);
CREATE INDEX timeline_by_incident ON timeline (incident, id);

-- What an incident closed for users, from when to when.
CREATE TABLE closures (
    id         INTEGER PRIMARY KEY,
    incident   INTEGER NOT NULL REFERENCES incidents (id),
    cause      TEXT    NOT NULL, -- `level` or the name of a containment call
    actions    INTEGER NOT NULL, -- bit set of actions
    from_block INTEGER NOT NULL,
    from_hash  BLOB    NOT NULL,
    from_time  INTEGER NOT NULL,
    to_block   INTEGER,
    to_hash    BLOB,
    to_time    INTEGER,
    UNIQUE (incident, cause, from_hash)
);

-- Values that rules with parameters are evaluated with.
CREATE TABLE witnesses (
    rule    INTEGER NOT NULL,
    words   BLOB    NOT NULL,
    seen    INTEGER NOT NULL, -- newest block that named it
    checked INTEGER NOT NULL, -- newest block at which it was evaluated
    PRIMARY KEY (rule, words)
) WITHOUT ROWID;
CREATE INDEX witnesses_in_turn ON witnesses (rule, checked);

-- Breaches that stand, with the height at which each was first seen. A rule that holds again has none.
CREATE TABLE breaches (
    rule  INTEGER NOT NULL,
    words BLOB    NOT NULL,
    since INTEGER NOT NULL,
    PRIMARY KEY (rule, words)
) WITHOUT ROWID;

-- The height at which people last queued the release of a scope: breaches that stood before are theirs to judge.
CREATE TABLE releases (
    scope INTEGER PRIMARY KEY,
    block INTEGER NOT NULL
);

CREATE TABLE alarms (
    id           INTEGER PRIMARY KEY,
    kind         TEXT    NOT NULL,
    subject      TEXT    NOT NULL,
    text         TEXT    NOT NULL,
    block_number INTEGER,
    raised_ms    INTEGER NOT NULL,
    cleared_ms   INTEGER
);
CREATE UNIQUE INDEX alarms_open ON alarms (kind, subject) WHERE cleared_ms IS NULL;
