-- How often a service has refused a message by itself. That it could not be reached is counted apart.
ALTER TABLE deliveries ADD COLUMN refusals INTEGER NOT NULL DEFAULT 0;
-- What of a topic is over, and what was acknowledged of it, is asked of each notice that is due.
CREATE INDEX notices_ending ON notices (topic, id) WHERE ends = 1;
CREATE INDEX notices_acknowledged ON notices (topic, id) WHERE kind = 'acknowledged';
