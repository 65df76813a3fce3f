-- Series that deviate together are one incident. What was an incident of one series so far becomes an episode, and an
-- incident of that one episode, with the same id: so what was said of it stays.
CREATE TABLE episodes (
    id TEXT PRIMARY KEY,
    incident TEXT NOT NULL,
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
    -- What it contributes to its incident.
    weight DOUBLE PRECISION NOT NULL,
    UNIQUE (pipeline, series, start_ms)
);
INSERT INTO episodes (id, incident, pipeline, series, labels, start_ms, end_ms, peak_ms, peak_score, peak_actual,
    peak_expected, peak_lower, peak_upper, points, weight)
SELECT id, id, pipeline, series, labels, start_ms, end_ms, peak_ms, peak_score, peak_actual,
    peak_expected, peak_lower, peak_upper, points, (CASE WHEN peak_score < 10 THEN peak_score ELSE 10 END) * points
FROM incidents;
CREATE INDEX episodes_by_incident ON episodes (incident, weight);
CREATE INDEX episodes_by_end ON episodes (pipeline, end_ms);
CREATE INDEX episodes_by_age ON episodes (end_ms);

ALTER TABLE incidents RENAME TO incidents_of_one_series;
DROP INDEX incidents_by_start;
DROP INDEX incidents_by_end;
DROP INDEX incidents_by_change;
CREATE TABLE incidents (
    id TEXT PRIMARY KEY,
    pipeline TEXT NOT NULL,
    -- The series of the point with the highest score, and that point.
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
    weight DOUBLE PRECISION NOT NULL,
    -- How many series are part of it, of how many that the pipeline watched; 0 where that is not known.
    members BIGINT NOT NULL,
    watched BIGINT NOT NULL,
    -- The labels that tell its series from the others, a JSON list.
    telling TEXT NOT NULL,
    severity TEXT NOT NULL,
    -- 1 once it has lasted as long as the pipeline asks for.
    confirmed BIGINT NOT NULL,
    open_until_ms BIGINT NOT NULL,
    -- What it was first found with.
    recipe TEXT,
    created_ms BIGINT NOT NULL,
    changed_ms BIGINT NOT NULL
);
INSERT INTO incidents (id, pipeline, series, labels, start_ms, end_ms, peak_ms, peak_score, peak_actual, peak_expected,
    peak_lower, peak_upper, points, weight, members, watched, telling, severity, confirmed, open_until_ms, recipe,
    created_ms, changed_ms)
SELECT o.id, o.pipeline, o.series, o.labels, o.start_ms, o.end_ms, o.peak_ms, o.peak_score, o.peak_actual,
    o.peak_expected, o.peak_lower, o.peak_upper, o.points, e.weight, 1, 0, '[]',
    CASE WHEN e.weight >= 60 THEN 'critical' WHEN e.weight >= 10 THEN 'warning' ELSE 'info' END, 1, o.open_until_ms,
    NULL, o.created_ms, o.changed_ms
FROM incidents_of_one_series o JOIN episodes e ON e.id = o.id;
DROP TABLE incidents_of_one_series;
CREATE INDEX incidents_by_start ON incidents (start_ms);
CREATE INDEX incidents_by_end ON incidents (end_ms);
CREATE INDEX incidents_by_change ON incidents (changed_ms);

-- What scores were made with: the document of the pipeline, the model and its trained version.
CREATE TABLE recipes (
    hash TEXT PRIMARY KEY,
    pipeline TEXT NOT NULL,
    document TEXT NOT NULL,
    model TEXT NOT NULL,
    created_ms BIGINT NOT NULL
);

-- The pattern that a verdict is about: which series, a JSON list of labels, and how they deviated. Verdicts that were
-- given before have none, and move no threshold.
ALTER TABLE feedback ADD COLUMN scope TEXT;
ALTER TABLE feedback ADD COLUMN side TEXT;
ALTER TABLE feedback ADD COLUMN score DOUBLE PRECISION;
ALTER TABLE feedback ADD COLUMN deviation DOUBLE PRECISION;

-- What was found to have drifted, and what is known of each pipeline for that.
CREATE TABLE drifts (
    id TEXT PRIMARY KEY,
    pipeline TEXT NOT NULL,
    kind TEXT NOT NULL,
    at_ms BIGINT NOT NULL,
    usual DOUBLE PRECISION NOT NULL,
    found DOUBLE PRECISION NOT NULL,
    UNIQUE (pipeline, kind, at_ms)
);
CREATE INDEX drifts_by_time ON drifts (at_ms);
CREATE TABLE drift_states (
    pipeline TEXT PRIMARY KEY,
    state TEXT NOT NULL,
    changed_ms BIGINT NOT NULL
);
