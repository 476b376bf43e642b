-- Configurations that keepers of this record have decided by, in their order: another number whenever another one is taken up, the one before
-- that again too. `at_ms` is when it was taken up first; of the one that runs when this table is made nobody knows (0).
CREATE TABLE configurations (
    number BIGINT PRIMARY KEY,
    digest TEXT NOT NULL,
    at_ms  BIGINT NOT NULL
);
INSERT INTO configurations (number, digest, at_ms) SELECT 1, value, 0 FROM settings WHERE name = 'config';
DELETE FROM settings WHERE name = 'config';

-- The one by which the keeper went that opened the incident. Those of before have none.
ALTER TABLE incidents ADD COLUMN configuration BIGINT;
