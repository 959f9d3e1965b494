-- Schema 2: the requests of devices that made their own keys, kept so that a renewal needs no new one.
--
-- The audit trail binds them from schema 3 on. A request proves by its own signature who holds its
-- key, and none is used whose key is not that of its certificate.

CREATE TABLE request (
    certificate INTEGER PRIMARY KEY REFERENCES certificate (id),
    der         BLOB NOT NULL       -- PKCS#10, as the device sent it
) STRICT;

CREATE TRIGGER request_is_never_changed BEFORE UPDATE ON request
BEGIN SELECT raise(ABORT, 'requests are never changed'); END;
CREATE TRIGGER request_is_never_removed BEFORE DELETE ON request
BEGIN SELECT raise(ABORT, 'requests are never removed'); END;
