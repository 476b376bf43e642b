-- The rulebook by whose numbers the rules of standing breaches go. One row, none before the first block.
CREATE TABLE rulebook (
    id      INTEGER PRIMARY KEY CHECK (id = 1),
    version BLOB NOT NULL
);
INSERT INTO rulebook (id, version)
    SELECT 1, b.version FROM checkpoint c JOIN blocks b ON b.hash = c.hash WHERE b.version <> zeroblob(32);

-- Invariants of watches that are broken and were told: told again only when they have held in between. `block_hash` is where it was told.
CREATE TABLE standing (
    watch      TEXT NOT NULL,
    key        TEXT NOT NULL,
    block_hash BLOB NOT NULL,
    PRIMARY KEY (watch, key)
);
INSERT INTO standing (watch, key, block_hash)
    SELECT watch, key, block_hash FROM sightings WHERE id IN (SELECT MAX(id) FROM sightings
        WHERE key LIKE 'invariant:%' AND canonical = 1 AND state <> 'quiet' GROUP BY watch, key);
