-- A name that no other record has, so that the ids of messages from two records of one guard differ. Records from before have
-- none: what they have told keeps its ids.
ALTER TABLE identity ADD COLUMN record TEXT;
