-- The incident in which people were told of a breach that stands, for a rule that raises no level.
ALTER TABLE breaches ADD COLUMN incident INTEGER;
-- What rules in shadow would have done.
CREATE INDEX intents_shadow ON intents (rule, id) WHERE kind = 'shadow' AND incident IS NULL;
