-- The inventory in SQLite, schema 1.
--
-- Times are seconds since 1970, states and roles the words that the commands print. Serial numbers
-- and thumbprints are not stored: they follow from the certificate, and the lookup tables find it.

-- One row for each change; its encoding is described in the documentation of the audit module.
CREATE TABLE audit (
    sequence     INTEGER PRIMARY KEY CHECK (sequence > 0),
    at           INTEGER NOT NULL,
    action       TEXT NOT NULL,
    subject      TEXT NOT NULL,
    detail       TEXT NOT NULL,
    certificates TEXT NOT NULL,     -- rows of the table certificate: 1-1000,1003
    content      BLOB,
    hash         BLOB NOT NULL
) STRICT;

CREATE TABLE generation (
    id            INTEGER PRIMARY KEY,
    authority     TEXT NOT NULL,
    number        INTEGER NOT NULL CHECK (number > 0),
    subject       BLOB NOT NULL,    -- the name in DER
    key_reference TEXT NOT NULL,    -- a file name or a PKCS#11 URI, never a key
    state         TEXT NOT NULL CHECK (
        state IN ('pending', 'current', 'next', 'retired', 'compromised', 'voided')),
    certificate   INTEGER REFERENCES certificate (id),
    UNIQUE (authority, number)
) STRICT;

-- Of one authority, at most one generation each is pending, current or next.
CREATE UNIQUE INDEX generation_state ON generation (authority, state)
    WHERE state IN ('pending', 'current', 'next');

CREATE TABLE batch (
    id   INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE
) STRICT;

-- What is asked for often and what changes: narrow, so that marking a chunk as delivered rewrites
-- few pages. The certificate itself is in certificate_der.
CREATE TABLE certificate (
    id              INTEGER PRIMARY KEY,
    role            TEXT NOT NULL CHECK (role IN ('root', 'intermediate', 'leaf', 'verification')),
    status          TEXT NOT NULL CHECK (
        status IN ('undelivered', 'delivered', 'voided', 'revoked')),
    signed_by       INTEGER REFERENCES generation (id),     -- null: outside of this home
    registration_id TEXT COLLATE NOCASE,
    batch           INTEGER REFERENCES batch (id),
    label           TEXT,
    not_after       INTEGER NOT NULL,
    recorded_in     INTEGER NOT NULL REFERENCES audit (sequence),
    changed_in      INTEGER NOT NULL REFERENCES audit (sequence)
) STRICT;

CREATE INDEX certificate_registration_id ON certificate (registration_id)
    WHERE registration_id IS NOT NULL;
CREATE INDEX certificate_not_after ON certificate (not_after);
CREATE INDEX certificate_signed_by ON certificate (signed_by);
CREATE INDEX certificate_batch ON certificate (batch) WHERE batch IS NOT NULL;
CREATE INDEX certificate_label ON certificate (label) WHERE label IS NOT NULL;
-- Nearly all certificates are delivered; the others are what one looks for.
CREATE INDEX certificate_exception ON certificate (status) WHERE status <> 'delivered';

CREATE TABLE certificate_der (
    id  INTEGER PRIMARY KEY REFERENCES certificate (id),
    der BLOB NOT NULL
) STRICT;

-- Finds certificates by serial number, SHA-1 and SHA-256 thumbprint: the first eight octets of each
-- as one number, compared in full on a hit. New rows go into the small table and are merged into
-- the large one in order now and then: a random insert into the large one would touch a page of its
-- own. That serial numbers are unique per issuer is checked through these tables while the writer's
-- lock is held.
CREATE TABLE lookup_recent (
    prefix      INTEGER NOT NULL,
    certificate INTEGER NOT NULL,
    PRIMARY KEY (prefix, certificate)
) STRICT, WITHOUT ROWID;

CREATE TABLE lookup_settled (
    prefix      INTEGER NOT NULL,
    certificate INTEGER NOT NULL,
    PRIMARY KEY (prefix, certificate)
) STRICT, WITHOUT ROWID;

-- One row: up to which certificate the lookups are in lookup_settled.
CREATE TABLE lookup_tier (
    settled INTEGER NOT NULL
) STRICT;
INSERT INTO lookup_tier VALUES (0);

-- How many certificates there are; signed_by is 0 for those signed outside of this home.
CREATE TABLE counter (
    signed_by    INTEGER NOT NULL,
    role         TEXT NOT NULL,
    status       TEXT NOT NULL,
    certificates INTEGER NOT NULL CHECK (certificates >= 0),
    PRIMARY KEY (signed_by, role, status)
) STRICT, WITHOUT ROWID;

-- Against accidents; against intent there is the audit trail.
CREATE TRIGGER audit_is_never_changed BEFORE UPDATE ON audit
BEGIN SELECT raise(ABORT, 'the audit trail is append-only'); END;
CREATE TRIGGER audit_is_never_removed BEFORE DELETE ON audit
BEGIN SELECT raise(ABORT, 'the audit trail is append-only'); END;
CREATE TRIGGER certificate_is_never_removed BEFORE DELETE ON certificate
BEGIN SELECT raise(ABORT, 'certificates are never removed'); END;
CREATE TRIGGER certificate_is_never_changed
BEFORE UPDATE OF id, role, signed_by, registration_id, batch, label, not_after, recorded_in
ON certificate
BEGIN SELECT raise(ABORT, 'only the status of a certificate changes'); END;
CREATE TRIGGER certificate_der_is_never_changed BEFORE UPDATE ON certificate_der
BEGIN SELECT raise(ABORT, 'certificates are never changed'); END;
CREATE TRIGGER certificate_der_is_never_removed BEFORE DELETE ON certificate_der
BEGIN SELECT raise(ABORT, 'certificates are never removed'); END;
