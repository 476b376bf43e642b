-- A ladder is superseded when one for more has taken its place: what it was climbed for may still be wanted when that is over, and begins anew.
DROP INDEX ladders_open;
CREATE UNIQUE INDEX ladders_open ON ladders (incident, fallback) WHERE state IN ('climbing', 'exhausted');
