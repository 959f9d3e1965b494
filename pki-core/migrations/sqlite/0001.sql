-- The inventory in SQLite, schema 1.
--
-- Times are seconds since 1970, states and roles the words that the commands print. Serial numbers
-- and thumbprints are not stored: they follow from the certificate, and the lookups find it.

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
    id            INTEGER PRIMARY KEY,  -- in the order in which they were opened
    name          TEXT NOT NULL UNIQUE,
    signed_by     INTEGER NOT NULL REFERENCES generation (id),
    fingerprint   BLOB NOT NULL,
    total         INTEGER NOT NULL CHECK (total >= 0),
    delivered     INTEGER NOT NULL CHECK (delivered BETWEEN 0 AND total),
    output_octets INTEGER NOT NULL CHECK (output_octets >= 0),
    output        TEXT NOT NULL,
    format        TEXT NOT NULL,
    state         TEXT NOT NULL CHECK (state IN ('open', 'complete')),
    started_at    INTEGER NOT NULL,
    completed_at  INTEGER,
    manifest      TEXT
) STRICT;

CREATE UNIQUE INDEX batch_open ON batch (fingerprint) WHERE state = 'open';

-- What is of one certificate alone. It is written once, in order, and never changed.
CREATE TABLE certificate (
    id              INTEGER PRIMARY KEY,
    registration_id TEXT COLLATE NOCASE,
    not_after       INTEGER NOT NULL,
    labels          TEXT,               -- name=value, one a line, ordered by name
    der             BLOB NOT NULL
) STRICT;

CREATE INDEX certificate_registration_id ON certificate (registration_id)
    WHERE registration_id IS NOT NULL;
CREATE INDEX certificate_not_after ON certificate (not_after);

-- What certificates next to each other have in common: a chunk of a thousand is one row here, and
-- its delivery changes that row instead of a thousand. A run is split where its certificates no
-- longer agree, by revoking one of them. Every certificate is in exactly one run.
CREATE TABLE run (
    first       INTEGER PRIMARY KEY,
    last        INTEGER NOT NULL CHECK (last >= first),
    role        TEXT NOT NULL CHECK (role IN ('root', 'intermediate', 'leaf', 'verification')),
    status      TEXT NOT NULL CHECK (status IN ('undelivered', 'delivered', 'voided', 'revoked')),
    signed_by   INTEGER REFERENCES generation (id),     -- null: outside of this home
    batch       INTEGER REFERENCES batch (id),
    recorded_in INTEGER NOT NULL REFERENCES audit (sequence),
    changed_in  INTEGER NOT NULL REFERENCES audit (sequence)
) STRICT;

CREATE INDEX run_status ON run (status);
CREATE INDEX run_signed_by ON run (signed_by);
CREATE INDEX run_batch ON run (batch) WHERE batch IS NOT NULL;

CREATE TABLE certificate_label (
    label       TEXT NOT NULL,          -- name=value
    certificate INTEGER NOT NULL,
    PRIMARY KEY (label, certificate)
) STRICT, WITHOUT ROWID;

-- Finds certificates by thumbprint and by random serial number. An entry is the first seven octets
-- of the key and the certificate's number in five; what is found is compared in full. Entries are
-- sorted into segments of many pages, and segments of similar size are merged into one, so that an
-- entry is written a few times in order instead of once at a random place of a large tree.
CREATE TABLE lookup_segment (
    id      INTEGER PRIMARY KEY,
    entries INTEGER NOT NULL
) STRICT;

CREATE TABLE lookup_page (
    segment INTEGER NOT NULL,
    first   BLOB NOT NULL,              -- the first entry of the page
    entries BLOB NOT NULL,
    PRIMARY KEY (segment, first)
) STRICT;

-- Certificates next to each other whose serial numbers ascend, found by halving instead of by
-- lookups: what bulk issuance writes. No two rows overlap. A serial number is stored with its
-- length in front, so that it compares as a number.
CREATE TABLE ascending_serials (
    first    INTEGER PRIMARY KEY,
    last     INTEGER NOT NULL CHECK (last > first),
    least    BLOB NOT NULL UNIQUE,
    greatest BLOB NOT NULL CHECK (greatest > least)
) STRICT;

-- How many certificates there are; signed_by is 0 for those signed outside of this home.
CREATE TABLE counter (
    signed_by    INTEGER NOT NULL,
    role         TEXT NOT NULL,
    status       TEXT NOT NULL,
    certificates INTEGER NOT NULL CHECK (certificates >= 0),
    PRIMARY KEY (signed_by, role, status)
) STRICT, WITHOUT ROWID;

-- The journal: plans that change DPS, and how far each was carried out.
CREATE TABLE plan (
    id        INTEGER PRIMARY KEY,      -- in the order in which they were opened
    name      TEXT NOT NULL UNIQUE,
    dps       TEXT NOT NULL,
    goal      TEXT NOT NULL,
    notes     TEXT NOT NULL,            -- a list in JSON
    keys_withheld INTEGER NOT NULL,     -- whether documents brought keys, which are not stored
    opened_at INTEGER NOT NULL,
    status    TEXT NOT NULL CHECK (status IN ('open', 'finished', 'abandoned')),
    state     TEXT NOT NULL             -- the status with its facts, in JSON
) STRICT;

CREATE TABLE plan_step (
    plan   INTEGER NOT NULL REFERENCES plan (id),
    number INTEGER NOT NULL,            -- from 0
    step   TEXT NOT NULL,               -- in JSON, without keys
    status TEXT NOT NULL CHECK (status IN ('planned', 'begun', 'done', 'failed')),
    state  TEXT NOT NULL,               -- the status with its facts, in JSON
    PRIMARY KEY (plan, number)
) STRICT, WITHOUT ROWID;

-- What open plans are about.
CREATE TABLE plan_subject (
    subject TEXT NOT NULL,
    plan    INTEGER NOT NULL REFERENCES plan (id),
    PRIMARY KEY (subject, plan)
) STRICT, WITHOUT ROWID;

CREATE INDEX plan_subject_plan ON plan_subject (plan);

-- Against accidents; against intent there is the audit trail.
CREATE TRIGGER audit_is_never_changed BEFORE UPDATE ON audit
BEGIN SELECT raise(ABORT, 'the audit trail is append-only'); END;
CREATE TRIGGER audit_is_never_removed BEFORE DELETE ON audit
BEGIN SELECT raise(ABORT, 'the audit trail is append-only'); END;
CREATE TRIGGER certificate_is_never_changed BEFORE UPDATE ON certificate
BEGIN SELECT raise(ABORT, 'certificates are never changed'); END;
CREATE TRIGGER certificate_is_never_removed BEFORE DELETE ON certificate
BEGIN SELECT raise(ABORT, 'certificates are never removed'); END;
CREATE TRIGGER run_is_changed_in_status_only
BEFORE UPDATE OF first, role, signed_by, batch, recorded_in ON run
BEGIN SELECT raise(ABORT, 'only the status of certificates changes'); END;
CREATE TRIGGER batch_is_never_removed BEFORE DELETE ON batch
BEGIN SELECT raise(ABORT, 'batches are never removed'); END;
CREATE TRIGGER plan_is_never_removed BEFORE DELETE ON plan
BEGIN SELECT raise(ABORT, 'plans are never removed'); END;
CREATE TRIGGER plan_step_is_never_removed BEFORE DELETE ON plan_step
BEGIN SELECT raise(ABORT, 'steps are never removed'); END;
CREATE TRIGGER plan_step_is_changed_in_state_only BEFORE UPDATE OF plan, number, step ON plan_step
BEGIN SELECT raise(ABORT, 'only the state of steps changes'); END;
