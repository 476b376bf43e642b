-- What is asked at every block: incidents that are not closed, and those that ended lately. A record holds those of years.
CREATE INDEX incidents_open ON incidents (scope) WHERE state <> 'closed';
CREATE INDEX incidents_ended ON incidents (ended_block);
