-- Number of a line within its incident. Its link binds chain, guard, incident and this number as well; none for lines of before,
-- whose links bind the line and the one before it alone.
ALTER TABLE timeline ADD COLUMN nth BIGINT;
-- How many lines are linked, and the last link: a cut-off end shows against it.
CREATE TABLE evidence_head (
    id    BIGINT PRIMARY KEY CHECK (id = 1),
    lines BIGINT  NOT NULL,
    link  BYTEA   NOT NULL
);
INSERT INTO evidence_head (id, lines, link)
    SELECT 1, (SELECT COUNT(*) FROM timeline WHERE link IS NOT NULL), link
    FROM timeline WHERE link IS NOT NULL ORDER BY timeline.id DESC LIMIT 1;
-- What is old is found without looking at all.
CREATE INDEX IF NOT EXISTS sightings_by_age ON sightings (at_ms);
CREATE INDEX IF NOT EXISTS alarms_cleared ON alarms (cleared_ms) WHERE cleared_ms IS NOT NULL;
