// What the service answers.

import type { Fault } from "./api";

export type Row = (number | null)[];
export type Labels = Record<string, string>;

export interface Pipeline {
  name: string;
  document: Document;
  version: string;
  origin: string;
  read_only: boolean;
  status?: { last_success: string | null; errors: Record<string, string> } | null;
  errors?: Fault[];
}

// eslint-disable-next-line
export type Document = Record<string, any>;

export interface Trace {
  series?: string;
  labels: Labels;
  timestamps: number[];
  y: Row;
  yhat: Row;
  yhat_lower: Row;
  yhat_upper: Row;
  anomaly_score: Row;
  warnings?: string[];
}

export interface Item {
  series: string;
  labels: Labels;
  last_score: number | null;
  max_score: number | null;
}

/** A point with the highest score, and what was expected of it. */
export interface Peak {
  at: string;
  score: number;
  actual: number | null;
  expected: number | null;
}

/** Points of one series, as a part of an incident. */
export interface Member {
  series: string;
  labels: Labels;
  started_at: string;
  ended_at: string;
  points: number;
  /** What part of the incident it is, from 0 to 1. */
  share: number;
  peak: Peak;
}

export interface Incident {
  id: string;
  pipeline: string;
  severity: "info" | "warning" | "critical";
  /** The series with the highest score. */
  series: string;
  labels: Labels;
  started_at: string;
  ended_at: string;
  /** Whether it may still go on. */
  open: boolean;
  points: number;
  peak: Peak;
  /** How many series are part of it. */
  series_count: number;
  telling: { name: string; value: string; text: string }[];
  members: Member[];
  feedback: { verdict: string; created_at: string }[];
}

/** Why an incident was found. */
export interface Explanation {
  headline: string;
  sections: { title: string; text: string[] }[];
}

export interface Job {
  id: string;
  kind: string;
  pipeline: string;
  state: string;
  progress: number;
  message: string;
  error?: string | null;
  created: string;
}

export interface Model {
  id: string;
  summary: string;
  is_default: boolean;
  parameters: { name: string; default: string; meaning: string }[];
}
