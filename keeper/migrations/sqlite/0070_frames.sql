-- Verdicts of a block that later blocks are compared with: those store only what differs. A frame is named by the Keccak-256 of its
-- verdicts and never changed.
CREATE TABLE frames (
    digest   BLOB PRIMARY KEY,
    verdicts BLOB NOT NULL
) WITHOUT ROWID;
ALTER TABLE blocks ADD COLUMN frame BLOB;
CREATE INDEX blocks_by_frame ON blocks (frame);
