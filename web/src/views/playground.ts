// A query, a model, and what would be found: before anything is kept.

import { get, post, Problem, type Fault } from "../api";
import { Chart } from "../chart";
import { complete } from "../complete";
import { button, fill, h, toast } from "../dom";
import { score, short, telling } from "../format";
import { go, trouble, type View } from "../shell";
import type { Document, Labels, Model, Row, Trace } from "../types";
import { follow } from "./jobs";

const DAY = 86_400_000;

/** What a dry run answers of one series. */
interface Series extends Trace {
  forecast?: { timestamps: number[]; mean: Row; quantiles?: Record<string, Row> } | null;
}

interface Field {
  path: string;
  label: string;
  usual?: string;
  hint?: string;
  options?: string[];
}

const FIELDS: Field[] = [
  { path: "step", label: "Step", usual: "5m", hint: "from point to point" },
  { path: "context_window", label: "Context", usual: "7d", hint: "what a forecast sees" },
  { path: "prediction_horizon", label: "Horizon", usual: "1h", hint: "how far it reaches" },
  { path: "anomaly.confidence_level", label: "Confidence", usual: "0.999", hint: "how wide the band is" },
  { path: "forecast_schedule", label: "Forecasts", usual: "1h", hint: "cron, or every so often" },
  { path: "anomaly_schedule", label: "Scores", usual: "5m", hint: "cron, or every so often" },
];

const MORE: Field[] = [
  { path: "anomaly.detection_direction", label: "Direction", options: ["", "both", "above_expected", "below_expected"] },
  { path: "anomaly.min_rel_dev_from_expected", label: "Least deviation, relative", hint: "0.25 is a quarter" },
  { path: "anomaly.min_dev_from_expected", label: "Least deviation", hint: "in the query's unit" },
  { path: "data_delay", label: "Data delay", hint: "how late points come" },
  { path: "timezone", label: "Time zone", hint: "such as Europe/Berlin" },
  { path: "description", label: "Description" },
];

/** What a newcomer sees something with: the first of these that the store has. */
const SUGGESTED: [string, string, Record<string, string>][] = [
  ["http_requests_per_second", "requests", { "anomaly.min_rel_dev_from_expected": "0.25" }],
  ["http_requests_total", "requests", {}],
  ["node_cpu_seconds_total", "cpu", {}],
  ["up", "up", {}],
];
const QUERIES: Record<string, string> = { http_requests_total: "sum by (job) (rate(http_requests_total[5m]))", node_cpu_seconds_total: 'avg by (instance) (rate(node_cpu_seconds_total{mode!="idle"}[5m]))' };

export const playground: View = async ({ signal, keys }) => {
  const [{ items: sources }, { models }] = await Promise.all([get<{ items: { name: string; kind: string }[] }>("/api/v1/datasources", signal), get<{ models: Model[] }>("/api/v1/catalogue", signal)]);
  const inputs = new Map<string, HTMLInputElement | HTMLSelectElement | HTMLTextAreaElement>();
  const errors = new Map<string, HTMLElement>();
  const general = h("div");
  const result = h("section", { "aria-label": "Preview", "aria-live": "polite" });
  const after = h("div");
  let chart: Chart | undefined;
  signal.addEventListener("abort", () => chart?.destroy());

  const labelled = <E extends HTMLInputElement | HTMLSelectElement | HTMLTextAreaElement>(path: string, label: string, input: E, hint = "", inside: Node = input) => {
    const wrong = h("span", { class: "wrong", role: "alert", id: `wrong-${path}` });
    inputs.set(path, input);
    errors.set(path, wrong);
    input.name = path;
    input.setAttribute("aria-describedby", wrong.id);
    return h("label", {}, label, inside, hint ? h("span", { class: "hint" }, hint) : null, wrong);
  };
  const field = ({ path, label, usual, hint, options }: Field) =>
    labelled(path, label, options ? h("select", {}, options.map((option) => h("option", { value: option }, option || "as usual"))) : h("input", { value: usual ?? "", autocomplete: "off", title: hint, placeholder: usual === undefined ? hint : undefined }));

  const query = h("textarea", { rows: 2, placeholder: "sum by (job) (rate(http_requests_total[5m]))" });
  const datasource = h("select", { value: sources.find((one) => one.name === "default")?.name ?? sources[0]?.name }, sources.map((one) => h("option", { value: one.name }, one.kind === "embedded" ? `${one.name} (inside the program)` : one.name)));
  const model = h("select", { value: models.find((one) => one.is_default)?.id }, models.map((one) => h("option", { value: one.id }, one.id)));
  const span = h("select", { "aria-label": "How much is scored", value: "2d" }, [["12h", "the last 12 hours"], ["1d", "the last day"], ["2d", "the last 2 days"], ["7d", "the last 7 days"]].map(([value, label]) => h("option", { value }, label!)));
  const about = h("div", { class: "hint" });
  const parameters = h("div", { class: "fields wide" });
  const chosen = () => models.find((one) => one.id === model.value);
  const describe = () => {
    fill(about, chosen()?.summary ?? "");
    fill(parameters, chosen()?.parameters.map(({ name, default: usual, meaning }) => labelled(`model.parameters.${name}`, name, h("input", { placeholder: usual, autocomplete: "off" }), meaning)) ?? []);
  };
  model.addEventListener("change", () => {
    for (const path of [...inputs.keys()]) if (path.startsWith("model.parameters.")) inputs.delete(path);
    describe();
  });

  const form = h(
    "form",
    { class: "panel", novalidate: true },
    labelled("datasource", "Datasource", datasource),
    labelled("query", "Query", query, "PromQL or MetricsQL; any number of series", complete(query, () => datasource.value)),
    labelled("model.id", "Model", model),
    about,
    h("div", { class: "fields" }, FIELDS.map(field)),
    h("details", {}, h("summary", {}, "Parameters of the model"), parameters),
    h("details", {}, h("summary", {}, "More"), h("div", { class: "fields wide" }, MORE.map(field))),
    general,
    h("div", { class: "foot" }, h("div", { class: "row" }, h("button", { class: "primary grow", title: "Enter" }, "Preview"), h("div", {}, span)), h("div", { class: "row" }, labelled("name", "Name", h("input", { autocomplete: "off", placeholder: "requests" })), button("Save as pipeline", () => save()))),
  );
  describe();

  /** The document of what is filled in. */
  const write = (): Document => {
    const document: Document = { name: "playground" };
    for (const [path, input] of inputs) {
      const value = input.value.trim();
      if (!value || (path === "datasource" && value === "default")) continue;
      const parts = path.split(".");
      const last = parts.pop()!;
      let inner = document;
      for (const part of parts) inner = inner[part] ??= {};
      inner[last] = path.startsWith("model.parameters.") || path.startsWith("anomaly.") ? guess(value) : value;
    }
    return document;
  };
  const blame = (faults: Fault[]) => {
    for (const [path, wrong] of errors) {
      const own = faults.filter((fault) => fault.path === path);
      fill(wrong, own.map((fault) => fault.message).join(" "));
      inputs.get(path)?.setAttribute("aria-invalid", own.length ? "true" : "false");
      if (own.length) inputs.get(path)?.closest("details")?.setAttribute("open", "");
    }
    const others = faults.filter((fault) => !errors.has(fault.path));
    fill(general, others.length ? h("div", { class: "trouble", role: "alert" }, h("ul", {}, others.map((fault) => h("li", {}, fault.path ? [h("code", {}, fault.path), ": "] : null, fault.message)))) : null);
    const first = [...errors.keys()].find((path) => faults.some((fault) => fault.path === path));
    if (first) inputs.get(first)?.focus();
  };
  const failed = (error: unknown) => {
    if (signal.aborted) return;
    if (error instanceof Problem && error.errors.length) return blame(error.errors);
    fill(general, trouble(error));
  };

  const preview = async () => {
    blame([]);
    fill(result, h("div", { class: "empty" }, h("h2", {}, "Reading, forecasting, scoring …"), h("progress", { "aria-label": "At work" })));
    try {
      const order = { pipeline: write(), last: span.value, dry_run: true };
      const answer = await post<{ data: Series[]; meta: { warnings: string[] } }>("/execute/inference", order, signal);
      show(answer.data.map(in_milliseconds), answer.meta.warnings);
    } catch (error) {
      fill(result, hint());
      failed(error);
    }
  };
  const show = (all: Series[], warnings: string[]) => {
    if (!all.length) return fill(result, h("div", { class: "empty" }, h("h2", {}, "The query answers nothing"), h("p", {}, "Is the name right, and is there anything in the time of the context?")));
    chart?.destroy();
    chart = new Chart((from, until) => chart!.show(seen, [], [from, until]));
    const worst = (one: Series) => Math.max(0, ...one.anomaly_score.map((value) => value ?? 0));
    const sorted = [...all].sort((a, b) => worst(b) - worst(a));
    const names = telling(sorted.map((one) => one.labels));
    const chips = h("div", { class: "chips", role: "group", "aria-label": "Series, the worst first" });
    let seen: Trace;
    const pick = (one: Series) => {
      seen = whole(one);
      chart!.show(seen);
      fill(chips, sorted.slice(0, 100).map((other) => h("button", { type: "button", class: "small", "aria-pressed": String(other === one), title: Object.entries(other.labels).map(([name, value]) => `${name}=${value}`).join(", "), onClick: () => pick(other) }, short(other.labels, names), h("span", { class: worst(other) > 1 ? "odd" : "faint" }, score(worst(other))))));
    };
    const odd = all.filter((one) => worst(one) > 1).length;
    fill(result, h("div", { class: "head" }, h("h2", {}, "Preview"), h("span", { class: "faint" }, `${all.length} series, ${odd} with something unusual. Nothing is written.`), h("span", { class: "grow" }), h("button", { type: "button", class: "small", onClick: () => chart!.show(seen) }, "All of it")), chips, chart.element, h("div", { class: "note" }, warnings.join(" ")));
    pick(sorted[0]!);
    // Where it stands below the form it would not be seen.
    if (result.getBoundingClientRect().top > window.innerHeight / 2) result.scrollIntoView({ block: "start" });
  };
  const save = async () => {
    blame([]);
    const document = { ...write(), name: inputs.get("name")!.value.trim() };
    if (!document.name) return blame([{ path: "name", message: "Give it a name, such as requests" }]);
    try {
      await post("/api/v1/pipelines", document, signal);
      saved(document.name);
    } catch (error) {
      failed(error);
    }
  };
  const saved = (name: string) => {
    toast(`${name} is saved, and runs`);
    const days = h("select", { "aria-label": "How much" }, [["3", "the last 3 days"], ["7", "the last 7 days"], ["14", "the last 14 days"]].map(([value, label]) => h("option", { value, ...(value === "7" ? { selected: true } : {}) }, label!)));
    const progress = h("div", { class: "row" });
    const begin = async () => {
      const until = Date.now();
      try {
        const { id } = await post<{ id: string }>("/api/v1/jobs/backfill", { pipeline: name, from: new Date(until - Number(days.value) * DAY).toISOString(), until: new Date(until).toISOString() }, signal);
        const job = await follow(id, progress, signal);
        if (job.state === "failed" || job.state === "cancelled") return fill(progress, trouble(new Error(job.error || job.message || job.state)));
        go(`#/pipelines/${encodeURIComponent(name)}?span=${Number(days.value) * DAY}`);
      } catch (error) {
        if (!signal.aborted) fill(progress, trouble(error));
      }
    };
    const start = button("Score the history too", begin, { class: "primary" });
    fill(after, h("div", { class: "panel saved", role: "status" }, h("h2", {}, `${name} is saved`), h("p", {}, "It scores new points from now on. What has been so far is scored only if you want it:"), h("div", { class: "row" }, days, start, h("a", { class: "button", href: `#/pipelines/${encodeURIComponent(name)}` }, "Go to the chart")), progress));
    start.focus();
    after.scrollIntoView({ block: "nearest" });
  };
  const hint = () => h("div", { class: "empty" }, h("h2", {}, "Nothing to see yet"), h("p", {}, "Write a query, and press Enter or Preview: forecast, band and scores are shown here, and nothing is written."));

  form.addEventListener("submit", (event) => {
    event.preventDefault();
    preview();
  });
  query.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && !event.shiftKey && !event.defaultPrevented) (event.preventDefault(), form.requestSubmit());
  });
  fill(result, hint());
  await suggest(datasource.value, inputs, signal);
  keys({ q: ["Into the query", () => query.focus()], s: ["Save as pipeline", save] });
  return h("div", {}, h("div", { class: "head" }, h("h1", {}, "Playground")), after, h("div", { class: "play" }, form, result));
};

/** Fills in something that works, where the store has it. */
async function suggest(source: string, inputs: Map<string, { value: string }>, signal: AbortSignal): Promise<void> {
  if (!source) return;
  const { items } = await get<{ items: string[] }>(`/api/v1/datasources/${encodeURIComponent(source)}/metrics`, signal).catch(() => ({ items: [] as string[] }));
  const found = SUGGESTED.find(([metric]) => items.includes(metric));
  if (!found) return;
  const [metric, name, rest] = found;
  for (const [path, value] of Object.entries({ query: QUERIES[metric] ?? metric, name, ...rest })) inputs.get(path)!.value = value;
}

/** A number, a list or a word, as somebody has meant it. */
function guess(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

/** The service counts seconds here, the chart milliseconds. */
function in_milliseconds(one: Series): Series {
  const millis = (times: number[]) => times.map((time) => time * 1000);
  return { ...one, timestamps: millis(one.timestamps), ...(one.forecast ? { forecast: { ...one.forecast, timestamps: millis(one.forecast.timestamps) } } : {}) };
}

/** What was, and after it the forecast. */
function whole(one: Series): Trace {
  const ahead = one.forecast;
  if (!ahead?.timestamps.length) return one;
  const after = ahead.timestamps.map((at, index) => [at, index] as const).filter(([at]) => at > (one.timestamps.at(-1) ?? 0));
  const levels = Object.keys(ahead.quantiles ?? {}).sort((a, b) => Number(a) - Number(b));
  const of = (row: Row | undefined) => after.map(([, index]) => row?.[index] ?? null);
  const none = after.map(() => null);
  return {
    labels: one.labels as Labels,
    timestamps: [...one.timestamps, ...after.map(([at]) => at)],
    y: [...one.y, ...none],
    yhat: [...one.yhat, ...of(ahead.mean)],
    yhat_lower: [...one.yhat_lower, ...of(ahead.quantiles?.[levels[0] ?? ""])],
    yhat_upper: [...one.yhat_upper, ...of(ahead.quantiles?.[levels.at(-1) ?? ""])],
    anomaly_score: [...one.anomaly_score, ...none],
  };
}
