-- The block in which the guard gave an incident its number: on another branch the number may be another incident's.
ALTER TABLE incidents ADD COLUMN chain_hash BYTEA;

-- Releases that people queued and took back, one row each, so that a block that vanishes takes its own with it. The newest of a
-- scope counts.
CREATE TABLE judgements (
    scope    BIGINT NOT NULL,
    block    BIGINT NOT NULL,
    hash     BYTEA NOT NULL,
    position BIGINT NOT NULL, -- of the event in its block
    queued   BIGINT NOT NULL, -- 0 for a release that was taken back
    UNIQUE (scope, hash, position)
);
INSERT INTO judgements (scope, block, hash, position, queued) SELECT scope, block, CAST('' AS BYTEA), 0, 1 FROM releases;
DROP TABLE releases;

-- Where an intent ended is looked for at every block.
CREATE INDEX intents_by_effect_block ON intents (effect_block) WHERE effect_block IS NOT NULL;
