// What was found: a list with filters, and what people say about it.

import { all, events, get, post, url } from "../api";
import { button, empty, fill, h, toast } from "../dom";
import { duration, number, score as points, short, telling, time } from "../format";
import { remember, type View } from "../shell";
import type { Explanation, Incident, Member, Pipeline } from "../types";

const DAY = 86_400_000;
const SPANS: [string, number][] = [["1 day", 1], ["7 days", 7], ["30 days", 30], ["1 year", 365]];
const VERDICTS: [string, string, string][] = [
  ["anomaly", "Real", "It was really an anomaly"],
  ["expected", "Expected", "Nothing was wrong"],
  ["maintenance", "Maintenance", "Somebody was working on it"],
];

export const incidents: View = async ({ query, signal, keys }) => {
  const list = h("div");
  const names = (await all<Pipeline>("/api/v1/pipelines", signal)).map((one) => one.name);
  const pipeline = h("select", { "aria-label": "Pipeline", value: query.get("pipeline") ?? "", onChange: () => load() }, h("option", { value: "" }, "All pipelines"), names.map((name) => h("option", { value: name }, name)));
  const span = h("select", { "aria-label": "Time", value: query.get("days") ?? "7", onChange: () => load() }, SPANS.map(([label, days]) => h("option", { value: days }, `Last ${label}`)));
  const score = h("select", { "aria-label": "Least score", value: query.get("score") ?? "", onChange: () => load() }, [["", "Any score"], ["2", "Score 2 or more"], ["5", "Score 5 or more"], ["10", "Score 10 or more"]].map(([value, label]) => h("option", { value }, label!)));
  const severity = h("select", { "aria-label": "Least severity", value: query.get("severity") ?? "", onChange: () => load() }, [["", "Any severity"], ["warning", "Warning or worse"], ["critical", "Critical"]].map(([value, label]) => h("option", { value }, label!)));
  const search = h("input", { type: "search", placeholder: "Search labels", "aria-label": "Search labels", onInput: () => draw() });
  let items: Incident[] = [];

  const load = async () => {
    remember({ pipeline: pipeline.value, days: span.value, score: score.value, severity: severity.value });
    const from = new Date(Date.now() - Number(span.value) * DAY).toISOString();
    items = await all<Incident>(url("/api/v1/anomalies", { pipeline: pipeline.value, from, min_score: score.value, severity: severity.value }), signal);
    items.sort((a, b) => Date.parse(b.started_at) - Date.parse(a.started_at));
    draw();
  };
  const draw = () => {
    const wanted = search.value.toLowerCase();
    const shown = items.filter((one) => `${one.pipeline} ${one.series} ${one.members.map((member) => member.series).join(" ")}`.toLowerCase().includes(wanted));
    if (shown.length) fill(list, h("div", { class: "wide-table" }, table(shown, load)));
    else if (names.length) fill(list, empty("No incidents", "Nothing unusual was found in this time. Choose a longer one, or ", h("a", { href: "#/jobs" }, "score the history"), " of a pipeline."));
    else fill(list, empty("No incidents", "Nothing is watched yet. ", h("a", { href: "#/playground" }, "Make a pipeline"), " first."));
  };

  await load();
  // New ones are told as they come; where that isn't possible, the list is as it was read.
  events("/api/v1/anomalies/events", signal, () => load()).catch(() => undefined);
  keys({ r: ["Read again", load] });
  return h("div", {}, h("div", { class: "head" }, h("h1", {}, "Incidents"), h("span", { class: "grow" }), pipeline, span, severity, score, search), list);
};

function table(items: Incident[], load: () => unknown): HTMLElement {
  const head = ["Began", "Lasted", "Severity", "Pipeline", "Series", "Score", "Actual, expected", "Why", "Verdict"].map((title) => h("th", { scope: "col" }, title));
  return h("table", { class: "cards" }, h("thead", {}, h("tr", {}, head)), h("tbody", {}, items.map((one) => row(one, load))));
}

/** Where the chart shows it, with what was around it. */
export function place(one: Incident): string {
  return placeOf(one, one.series, one);
}

function placeOf({ pipeline }: Incident, series: string, when: { started_at: string; ended_at: string }): string {
  const [from, until] = [Date.parse(when.started_at), Date.parse(when.ended_at)];
  const room = Math.max((until - from) * 3, DAY / 2);
  return `#${url(`/pipelines/${encodeURIComponent(pipeline)}`, { series, from: from - room, until: Math.min(until + room, Date.now()) })}`;
}

function row(one: Incident, load: () => unknown): HTMLElement {
  return h(
    "tr",
    {},
    h("td", { "data-name": "Began", class: "when" }, h("a", { href: place(one) }, time(one.started_at))),
    h("td", { "data-name": "Lasted", class: "when" }, one.open ? h("span", { class: "state run" }, "goes on") : duration(Date.parse(one.ended_at) - Date.parse(one.started_at))),
    h("td", { "data-name": "Severity" }, severityOf(one)),
    h("td", { "data-name": "Pipeline" }, one.pipeline),
    h("td", { "data-name": "Series" }, who(one)),
    h("td", { "data-name": "Score", class: "score odd" }, points(one.peak.score)),
    h("td", { "data-name": "Actual, expected", class: "when" }, `${number(one.peak.actual)}, ${number(one.peak.expected)}`),
    h("td", { "data-name": "Why", class: "when" }, button("Why?", () => why(one), { class: "small", title: "Explain it" })),
    h("td", { class: "actions" }, verdicts(one, load)),
  );
}

/** How bad it is. */
export function severityOf(one: Incident): HTMLElement {
  return h("span", { class: `state ${one.severity === "critical" ? "bad" : one.severity === "warning" ? "wait" : ""}` }, one.severity);
}

/** The series, or how many there are, what tells them from the others, and which they are. */
export function who(one: Incident): HTMLElement {
  const names = Object.keys(one.labels).filter((name) => !["__name__", "job", "code"].includes(name));
  if (one.series_count < 2) return h("span", { class: "cut", title: one.series }, short(one.labels, names));
  const told = one.telling[0] ? ` · ${one.telling[0].text}` : "";
  const own = telling(one.members.map((member) => member.labels));
  const more = one.series_count - new Set(one.members.map((member) => member.series)).size;
  const line = (member: Member) => h("li", { title: member.series }, h("a", { href: placeOf(one, member.series, member) }, short(member.labels, own)), h("span", { class: "faint" }, ` ${Math.round(member.share * 100)}% · ${points(member.peak.score)}`));
  return h("details", { class: "members" }, h("summary", {}, `${one.series_count} series${told}`), h("ol", {}, one.members.map(line)), more > 0 ? h("p", { class: "faint" }, `and ${more} more`) : null);
}

/** Shows why it was found. */
async function why(one: Incident): Promise<void> {
  const found = await get<Explanation>(`/api/v1/anomalies/${encodeURIComponent(one.id)}/explanation`);
  const sections = found.sections.map((section) => [h("h3", {}, section.title), section.text.map((text) => h("p", {}, text))]);
  const dialog = h("dialog", { class: "why", "aria-label": "Why it was found" });
  dialog.append(h("h2", {}, found.headline), h("div", {}, sections), h("div", { class: "row end" }, h("button", { type: "button", class: "primary", autofocus: true, onClick: () => dialog.close() }, "Close")));
  dialog.addEventListener("close", () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal();
}

/** Buttons by which a person says what an incident was. */
export function verdicts(one: Incident, done: () => unknown): HTMLElement {
  const say = (verdict: string) => async () => {
    await post("/api/v1/feedback", { incident: one.id, verdict });
    toast("Thank you, noted");
    done();
  };
  const newest = [...one.feedback].sort((a, b) => Date.parse(a.created_at) - Date.parse(b.created_at)).at(-1)?.verdict;
  const choice = ([verdict, label, title]: [string, string, string]) => button(label, say(verdict), { class: "small", title, "aria-pressed": newest === verdict ? "true" : "false" });
  return h("div", { class: "group", role: "group", "aria-label": "Verdict" }, VERDICTS.map(choice));
}

