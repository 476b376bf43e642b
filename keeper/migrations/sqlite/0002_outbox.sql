-- What people are told. A notice is written in the transaction that makes it true; a delivery is one notice on its way through
-- one channel.

CREATE TABLE notices (
    id           INTEGER PRIMARY KEY,
    mark         TEXT UNIQUE,      -- makes a notice appear once, however often its cause is looked at
    topic        TEXT    NOT NULL, -- what is acknowledged as one: `incident:7`, `alarm:blind`
    kind         TEXT    NOT NULL,
    severity     TEXT    NOT NULL,
    incident     INTEGER REFERENCES incidents (id),
    subject      TEXT    NOT NULL,
    text         TEXT    NOT NULL,
    block_number INTEGER,
    ends         INTEGER NOT NULL, -- whether nothing of the topic is open any more
    at_ms        INTEGER NOT NULL,
    due_ms       INTEGER NOT NULL
);
CREATE INDEX notices_by_topic ON notices (topic, id);

CREATE TABLE deliveries (
    notice   INTEGER NOT NULL REFERENCES notices (id) ON DELETE CASCADE,
    channel  TEXT    NOT NULL,
    due_ms   INTEGER NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0, -- in vain, since the last success
    told     INTEGER NOT NULL DEFAULT 0, -- how often it arrived
    outcome  TEXT,                       -- NULL while it is on its way: sent, needless, refused, expired, dropped
    error    TEXT,                       -- why the last attempt failed
    PRIMARY KEY (notice, channel)
) WITHOUT ROWID;
CREATE INDEX deliveries_due ON deliveries (channel, due_ms) WHERE outcome IS NULL;

CREATE TABLE acknowledgements (
    topic TEXT PRIMARY KEY,
    by    TEXT    NOT NULL,
    at_ms INTEGER NOT NULL
);

-- Single values that outlive a run.
CREATE TABLE settings (
    name  TEXT PRIMARY KEY,
    value TEXT NOT NULL
);
