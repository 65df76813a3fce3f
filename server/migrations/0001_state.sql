-- Everything the service remembers beside the series themselves. One schema for SQLite and PostgreSQL: times are
-- milliseconds since the Unix epoch, documents are JSON as text, ids are UUIDs of version 7, so that they sort by time.

CREATE TABLE pipelines (
    name TEXT PRIMARY KEY,
    document TEXT NOT NULL,
    changed_ms BIGINT NOT NULL
);

-- How often a table was changed, counted with each change, so that every process sees those of the others.
CREATE TABLE revisions (
    name TEXT PRIMARY KEY,
    revision BIGINT NOT NULL
);
INSERT INTO revisions (name, revision) VALUES ('pipelines', 0);

-- One row a pass.
CREATE TABLE runs (
    id TEXT PRIMARY KEY,
    pipeline TEXT NOT NULL,
    stage TEXT NOT NULL,
    tick_ms BIGINT NOT NULL,
    started_ms BIGINT NOT NULL,
    took_ms BIGINT NOT NULL,
    outcome TEXT NOT NULL,
    series BIGINT NOT NULL,
    scored BIGINT NOT NULL,
    anomalous BIGINT NOT NULL,
    written BIGINT NOT NULL,
    rejected BIGINT NOT NULL,
    error TEXT,
    instance TEXT NOT NULL,
    job TEXT
);
CREATE INDEX runs_by_time ON runs (started_ms);
CREATE INDEX runs_by_pipeline ON runs (pipeline, started_ms);

-- One row a forecast that was made: by which model, from when, how far.
CREATE TABLE predictions (
    run TEXT PRIMARY KEY,
    pipeline TEXT NOT NULL,
    model TEXT NOT NULL,
    model_version BIGINT,
    origin_ms BIGINT NOT NULL,
    step_ms BIGINT NOT NULL,
    horizon BIGINT NOT NULL,
    series BIGINT NOT NULL,
    made_ms BIGINT NOT NULL
);
CREATE INDEX predictions_by_pipeline ON predictions (pipeline, made_ms);

CREATE TABLE jobs (
    id TEXT PRIMARY KEY,
    kind TEXT NOT NULL,
    pipeline TEXT,
    body TEXT NOT NULL,
    state TEXT NOT NULL,
    priority BIGINT NOT NULL,
    attempts BIGINT NOT NULL,
    most_attempts BIGINT NOT NULL,
    timeout_ms BIGINT NOT NULL,
    created_ms BIGINT NOT NULL,
    created_by TEXT NOT NULL,
    run_after_ms BIGINT NOT NULL,
    started_ms BIGINT,
    ended_ms BIGINT,
    owner TEXT,
    lease_until_ms BIGINT,
    cancel_requested BIGINT NOT NULL,
    progress DOUBLE PRECISION NOT NULL,
    message TEXT NOT NULL,
    checkpoint TEXT,
    result TEXT,
    error TEXT,
    idempotency_key TEXT UNIQUE
);
CREATE INDEX jobs_to_do ON jobs (state, priority, run_after_ms);
CREATE INDEX jobs_by_state ON jobs (state, kind);
CREATE INDEX jobs_by_time ON jobs (created_ms);
CREATE INDEX jobs_by_owner ON jobs (owner);

-- Trained versions of the model of a pipeline. At most one of a pipeline's is current; `base` says which model and
-- parameters of the pipeline's document it was trained from, and `current_ms` when it last became current.
CREATE TABLE models (
    id TEXT PRIMARY KEY,
    pipeline TEXT NOT NULL,
    version BIGINT NOT NULL,
    state TEXT NOT NULL,
    reason TEXT NOT NULL,
    model TEXT NOT NULL,
    source TEXT NOT NULL,
    hash TEXT NOT NULL,
    parameters TEXT NOT NULL,
    base TEXT NOT NULL,
    evaluation TEXT NOT NULL,
    created_ms BIGINT NOT NULL,
    created_by TEXT NOT NULL,
    current_ms BIGINT,
    UNIQUE (pipeline, version)
);

CREATE TABLE incidents (
    id TEXT PRIMARY KEY,
    pipeline TEXT NOT NULL,
    series TEXT NOT NULL,
    labels TEXT NOT NULL,
    start_ms BIGINT NOT NULL,
    end_ms BIGINT NOT NULL,
    peak_ms BIGINT NOT NULL,
    peak_score DOUBLE PRECISION NOT NULL,
    peak_actual DOUBLE PRECISION NOT NULL,
    peak_expected DOUBLE PRECISION NOT NULL,
    peak_lower DOUBLE PRECISION NOT NULL,
    peak_upper DOUBLE PRECISION NOT NULL,
    points BIGINT NOT NULL,
    -- Until when another point may still belong to it.
    open_until_ms BIGINT NOT NULL,
    created_ms BIGINT NOT NULL,
    changed_ms BIGINT NOT NULL,
    UNIQUE (pipeline, series, start_ms)
);
CREATE INDEX incidents_by_start ON incidents (start_ms);
CREATE INDEX incidents_by_end ON incidents (end_ms);
CREATE INDEX incidents_by_change ON incidents (changed_ms);

CREATE TABLE feedback (
    id TEXT PRIMARY KEY,
    incident TEXT,
    pipeline TEXT NOT NULL,
    labels TEXT NOT NULL,
    start_ms BIGINT NOT NULL,
    end_ms BIGINT NOT NULL,
    verdict TEXT NOT NULL,
    note TEXT NOT NULL,
    created_ms BIGINT NOT NULL,
    created_by TEXT NOT NULL
);
CREATE INDEX feedback_by_pipeline ON feedback (pipeline, start_ms);

CREATE TABLE users (
    name TEXT PRIMARY KEY,
    password_hash TEXT NOT NULL,
    role TEXT NOT NULL,
    created_ms BIGINT NOT NULL,
    changed_ms BIGINT NOT NULL
);

CREATE TABLE api_keys (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    hash TEXT NOT NULL,
    role TEXT NOT NULL,
    requests_per_second DOUBLE PRECISION,
    created_ms BIGINT NOT NULL,
    created_by TEXT NOT NULL,
    expires_ms BIGINT,
    used_ms BIGINT
);

CREATE TABLE audit_log (
    id TEXT PRIMARY KEY,
    at_ms BIGINT NOT NULL,
    actor TEXT NOT NULL,
    action TEXT NOT NULL,
    subject TEXT NOT NULL,
    detail TEXT NOT NULL,
    address TEXT NOT NULL,
    request_id TEXT NOT NULL
);
CREATE INDEX audit_log_by_time ON audit_log (at_ms);

-- Who does what, among several processes on one database: `pipeline/NAME` or `task/NAME`, by the database's own clock.
CREATE TABLE leases (
    name TEXT PRIMARY KEY,
    owner TEXT NOT NULL,
    until_ms BIGINT NOT NULL
);

CREATE TABLE instances (
    id TEXT PRIMARY KEY,
    host TEXT NOT NULL,
    version TEXT NOT NULL,
    started_ms BIGINT NOT NULL,
    seen_ms BIGINT NOT NULL
);

-- What the service makes up once and keeps, such as the secret that signs logins.
CREATE TABLE settings (
    name TEXT PRIMARY KEY,
    value TEXT NOT NULL
);
