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

export interface Incident {
  id: string;
  pipeline: string;
  series: string;
  labels: Labels;
  started_at: string;
  ended_at: string;
  /** Whether it may still go on. */
  open: boolean;
  points: number;
  peak: { at: string; score: number; actual: number | null; expected: number | null };
  feedback: { verdict: string; created_at: string }[];
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
