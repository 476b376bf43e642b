-- Links each line of a timeline to the one before: SHA-256 of that line's link and of this line's digest. None for lines of before.
ALTER TABLE timeline ADD COLUMN link BYTEA;
