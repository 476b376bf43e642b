-- What is due first is found by these, without a look at all that waits: of each severity six places, the first three for what was never told,
-- of them incidents, the rest, and watches. `part` is 1 for an acknowledgement, 2 for an end.
ALTER TABLE deliveries ADD COLUMN topic TEXT NOT NULL DEFAULT '';
ALTER TABLE deliveries ADD COLUMN place INTEGER NOT NULL DEFAULT 0;
ALTER TABLE deliveries ADD COLUMN part INTEGER NOT NULL DEFAULT 0;
-- How often it has failed by itself while others passed.
ALTER TABLE deliveries ADD COLUMN aside INTEGER NOT NULL DEFAULT 0;
UPDATE deliveries SET topic = (SELECT n.topic FROM notices n WHERE n.id = deliveries.notice) WHERE outcome IS NULL OR told > 0;
UPDATE deliveries SET place = (SELECT CASE n.severity WHEN 'P1' THEN 0 WHEN 'P2' THEN 6 WHEN 'P3' THEN 12 ELSE 18 END
        + CASE WHEN n.topic LIKE 'incident:%' THEN 0 WHEN n.topic LIKE 'watch:%' THEN 2 ELSE 1 END
        FROM notices n WHERE n.id = deliveries.notice) + CASE WHEN told > 0 THEN 3 ELSE 0 END,
    part = (SELECT CASE WHEN n.ends = 1 THEN 2 WHEN n.kind = 'acknowledged' THEN 1 ELSE 0 END
        FROM notices n WHERE n.id = deliveries.notice)
    WHERE outcome IS NULL;
CREATE INDEX deliveries_places ON deliveries (channel, place, due_ms, notice) WHERE outcome IS NULL;
CREATE INDEX deliveries_untold ON deliveries (channel, topic, notice) WHERE outcome IS NULL AND told = 0;
CREATE INDEX deliveries_later ON deliveries (channel, topic, due_ms, notice) WHERE outcome IS NULL AND told = 0;
CREATE INDEX deliveries_ends ON deliveries (channel, topic, notice, due_ms) WHERE outcome IS NULL AND told = 0 AND part = 2;
CREATE INDEX deliveries_again ON deliveries (channel, topic, due_ms, notice) WHERE outcome IS NULL AND told > 0;
CREATE INDEX deliveries_told ON deliveries (channel, topic, notice) WHERE told > 0;
CREATE INDEX deliveries_refused ON deliveries (channel) WHERE outcome IS NULL AND refusals + aside > 0;

-- Until when a channel that has failed is left alone, and how often it has failed in a row.
CREATE TABLE holds (
    channel  TEXT PRIMARY KEY,
    until_ms INTEGER NOT NULL,
    failures INTEGER NOT NULL
);
