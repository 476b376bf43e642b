-- Verdicts of a block that later blocks are compared with: those store only what differs. A frame is named by the Keccak-256 of its
-- verdicts and never changed.
CREATE TABLE frames (
    digest   BYTEA PRIMARY KEY,
    verdicts BYTEA NOT NULL
);
ALTER TABLE blocks ADD COLUMN frame BYTEA;
CREATE INDEX blocks_by_frame ON blocks (frame);
