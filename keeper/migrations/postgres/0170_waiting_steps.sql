-- A containment that is begun and waits until enough agree on it has the value -1 in playbook_steps. A version that does not know it would
-- wait for ever for an action that nobody has planned: it must refuse this record.
SELECT 1;
