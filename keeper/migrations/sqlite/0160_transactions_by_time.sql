-- What was sent lately is looked for every few seconds.
CREATE INDEX transactions_by_time ON transactions (sent_ms);
