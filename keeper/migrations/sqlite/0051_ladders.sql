-- Fallback ladders that were begun because the keeper's own way did not contain an incident in time.
CREATE TABLE ladders (
    id       INTEGER PRIMARY KEY,
    incident INTEGER NOT NULL REFERENCES incidents (id),
    fallback TEXT    NOT NULL,
    intent   INTEGER NOT NULL REFERENCES intents (id),
    state    TEXT    NOT NULL, -- climbing, exhausted, held (contained, or over)
    began_ms INTEGER NOT NULL,
    ended_ms INTEGER
);
-- The next one is begun only after the incident was contained in between.
CREATE UNIQUE INDEX ladders_open ON ladders (incident, fallback) WHERE state <> 'held';

CREATE TABLE ladder_rungs (
    ladder   INTEGER NOT NULL REFERENCES ladders (id),
    rung     TEXT    NOT NULL,
    status   TEXT    NOT NULL, -- running, done, failed
    began_ms INTEGER NOT NULL,
    ended_ms INTEGER,
    detail   TEXT    NOT NULL,
    PRIMARY KEY (ladder, rung)
);
