-- The rulebook by whose numbers the rules of standing breaches and remembered witnesses go. One row, none before the first block.
CREATE TABLE rulebook (
    id      INTEGER PRIMARY KEY CHECK (id = 1),
    version BLOB NOT NULL
);
INSERT INTO rulebook (id, version)
    SELECT 1, b.version FROM checkpoint c JOIN blocks b ON b.hash = c.hash WHERE b.version <> zeroblob(32);
