-- What watches found. A row is written in the transaction that makes its block done, or, for a pending transaction, by itself.

CREATE TABLE sightings (
    id           INTEGER PRIMARY KEY,
    watch        TEXT    NOT NULL,
    block_hash   BLOB    NOT NULL, -- empty for a pending transaction, which is in no block
    block_number INTEGER NOT NULL,
    block_time   INTEGER NOT NULL,
    key          TEXT    NOT NULL, -- what tells it from others of the watch in the block
    severity     TEXT    NOT NULL,
    finality     TEXT    NOT NULL,
    tx           BLOB,
    text         TEXT    NOT NULL,
    facts        TEXT    NOT NULL, -- JSON
    canonical    INTEGER NOT NULL,
    state        TEXT    NOT NULL, -- waiting, told, seen (acknowledged), retracted, quiet
    told         INTEGER NOT NULL DEFAULT 0, -- how often it was told or retracted: makes each notice's mark its own
    at_ms        INTEGER NOT NULL,
    UNIQUE (block_hash, watch, key)
);
CREATE INDEX sightings_by_watch ON sightings (watch, block_time);
CREATE INDEX sightings_waiting ON sightings (finality, block_number) WHERE state = 'waiting';
CREATE INDEX sightings_told ON sightings (watch) WHERE state = 'told';

-- What a notice says, for machines.
ALTER TABLE notices ADD COLUMN facts TEXT;
