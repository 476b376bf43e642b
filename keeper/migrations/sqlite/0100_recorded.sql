-- A breach that stands and was recorded, for a rule in shadow: it is recorded once.
ALTER TABLE breaches ADD COLUMN recorded INTEGER NOT NULL DEFAULT 0;
-- Actions of an incident, and old ones, are found without looking at all.
CREATE INDEX intents_by_incident ON intents (incident);
CREATE INDEX intents_by_age ON intents (decided_ms) WHERE outcome IS NOT NULL;
