-- Channels that are told, whatever the severity: names, each with a space before and after it. NULL for those that want the severity.
ALTER TABLE notices ADD COLUMN channels TEXT;
ALTER TABLE sightings ADD COLUMN channels TEXT;
ALTER TABLE incidents ADD COLUMN channels TEXT;

-- Playbooks that were started, each once for an incident.
CREATE TABLE playbook_runs (
    id         INTEGER PRIMARY KEY,
    incident   INTEGER NOT NULL REFERENCES incidents (id),
    playbook   TEXT    NOT NULL,
    definition TEXT    NOT NULL, -- CACAO 2.0: what was started goes on as it was, whatever the configuration says later
    state      TEXT    NOT NULL, -- running, done, failed
    began_ms   INTEGER NOT NULL,
    ended_ms   INTEGER,
    UNIQUE (incident, playbook)
);
CREATE INDEX playbook_runs_open ON playbook_runs (id) WHERE state = 'running';

-- Steps that were begun. A step of a loop has a row for each round.
CREATE TABLE playbook_steps (
    run      INTEGER NOT NULL REFERENCES playbook_runs (id),
    step     TEXT    NOT NULL,
    status   TEXT    NOT NULL, -- running, done, failed, skipped
    value    INTEGER NOT NULL DEFAULT 0, -- the branch that was taken (1 or 0), or the round of a loop
    began_ms INTEGER NOT NULL,
    ended_ms INTEGER,
    intent   INTEGER REFERENCES intents (id),
    person   TEXT, -- who has approved or refused
    detail   TEXT NOT NULL,
    PRIMARY KEY (run, step)
);
