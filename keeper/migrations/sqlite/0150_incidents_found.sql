-- What is asked at every block, and at every event of the guard: an incident by the height at which it was contained, and by the guard's
-- number for it.
CREATE INDEX incidents_contained ON incidents (contained_block) WHERE contained_block IS NOT NULL;
CREATE INDEX incidents_by_number ON incidents (chain_incident) WHERE chain_incident IS NOT NULL;
