// One pipeline: its series, the worst first, and the chart of one of them.

import { all, get, url } from "../api";
import { Chart } from "../chart";
import { button, every, fill, h } from "../dom";
import { local, score, short, telling, time } from "../format";
import { go, remember, trouble, type View } from "../shell";
import type { Incident, Item, Pipeline, Trace } from "../types";
import { severityOf, verdicts, who } from "./incidents";
import { actions, state } from "./pipelines";

const HOUR = 3_600_000;
const PRESETS: [string, number][] = [["6 h", 6], ["1 d", 24], ["3 d", 72], ["7 d", 168], ["14 d", 336], ["30 d", 720]];

/** The range that is shown: the last `span`, or from one time to another. */
type Range = { span: number } | { from: number; until: number };

const ends = (range: Range): [number, number] => ("span" in range ? [Date.now() - range.span, Date.now()] : [range.from, range.until]);

export const pipeline: View = async ({ path, query, signal, keys }) => {
  const name = path[0]!;
  const base = `/api/v1/pipelines/${encodeURIComponent(name)}`;
  let one = await get<Pipeline>(base, signal);
  let range: Range = query.get("from") && query.get("until") ? { from: Number(query.get("from")), until: Number(query.get("until")) } : { span: Number(query.get("span")) || 72 * HOUR };
  let chosen = query.get("series") ?? "";
  let items: Item[] = [];

  const chart = new Chart((from, until) => move({ from, until }));
  signal.addEventListener("abort", () => chart.destroy());
  const about = h("div", { class: "about" });
  const bar = h("div", { class: "bar" });
  const picker = h("div", { class: "picker", role: "listbox", "aria-label": "Series, the worst first" });
  const search = h("input", { type: "search", placeholder: "Search series", "aria-label": "Search series", onInput: () => list() });
  const note = h("div", { class: "note", role: "status" });
  const below = h("div");

  const found = () => {
    const wanted = search.value.toLowerCase();
    return items.filter((item) => item.series.toLowerCase().includes(wanted));
  };
  const list = () => {
    const names = telling(items.map((item) => item.labels));
    const option = (item: Item) =>
      h(
        "button",
        { type: "button", role: "option", "aria-selected": item.series === chosen ? "true" : "false", title: item.series, onClick: () => pick(item.series) },
        h("span", { class: "cut" }, short(item.labels, names)),
        h("span", { class: `score ${(item.max_score ?? 0) > 1 ? "odd" : ""}`, title: "The highest score in this time" }, score(item.max_score)),
      );
    fill(picker, found().slice(0, 300).map(option), items.length && !found().length ? h("p", { class: "faint" }, "No series has that.") : null);
  };
  const draw = async () => {
    const [from, until] = ends(range);
    if (!chosen) return;
    const params = { from: new Date(from).toISOString(), until: new Date(until).toISOString(), series: chosen };
    const [trace, own] = await Promise.all([
      get<Trace>(url(`${base}/chart`, params), signal),
      all<Incident>(url("/api/v1/anomalies", { pipeline: name, ...params }), signal).catch((): Incident[] => []),
    ]);
    const marks = own.flatMap((incident) => incident.members.filter((member) => member.series === params.series));
    chart.show(trace, marks.map((member) => ({ from: Date.parse(member.started_at), until: Date.parse(member.ended_at) })), [from, until]);
    const scored = trace.anomaly_score.some((score) => score !== null);
    const seen = trace.y.some((value) => value !== null);
    fill(note, trace.warnings?.length ? trace.warnings.join(" ") : scored ? "" : seen ? unscored() : "Nothing is there in this time. Zoom out, or choose another one.");
    fill(below, table(own));
  };
  const unscored = () => ["Nothing has been scored in this time yet. ", button("Score the history", () => go(`#/jobs?backfill=${encodeURIComponent(name)}`), { class: "small" })];
  const load = async () => {
    const [from, until] = ends(range).map((at) => new Date(at).toISOString());
    const listed = await get<{ items: Item[]; warnings: string[] }>(url(`${base}/series`, { from, until }), signal);
    items = listed.items;
    if (!items.some((item) => item.series === chosen) && !query.get("series")) chosen = items[0]?.series ?? "";
    list();
    if (!items.length) fill(note, listed.warnings.length ? listed.warnings.join(" ") : ["The query answers no series. ", h("a", { href: `#/pipelines/${encodeURIComponent(name)}/edit` }, "Look at it")]);
    await draw();
  };
  const read = async () => {
    try {
      one = await get<Pipeline>(base, signal);
      header();
      await load();
    } catch (error) {
      if (!signal.aborted) fill(note, trouble(error));
    }
  };
  const pick = (series: string) => {
    chosen = series;
    remember({ series });
    list();
    draw().catch((error) => fill(note, trouble(error)));
  };
  const move = (to: Range) => {
    range = to;
    remember("span" in to ? { span: to.span, from: null, until: null } : { from: to.from, until: to.until, span: null });
    controls();
    read();
  };
  const by = (shift: number, zoom: number) => {
    const [from, until] = ends(range);
    const [middle, half] = [(from + until) / 2 + (until - from) * shift, ((until - from) / 2) * zoom];
    move({ from: Math.round(middle - half), until: Math.round(middle + half) });
  };
  const next = (step: number) => {
    const shown = found();
    const at = shown.findIndex((item) => item.series === chosen);
    const to = shown[Math.min(shown.length - 1, Math.max(0, at + step))];
    if (to) pick(to.series);
    picker.querySelector('[aria-selected="true"]')?.scrollIntoView({ block: "nearest" });
  };
  const controls = () => {
    const [from, until] = ends(range);
    const active = "span" in range ? range.span : 0;
    const preset = ([label, hours]: [string, number]) => h("button", { type: "button", class: "small", "aria-pressed": active === hours * HOUR ? "true" : "false", onClick: () => move({ span: hours * HOUR }) }, label);
    const input = (label: string, value: number, change: (at: number) => Range) =>
      h("input", { type: "datetime-local", "aria-label": label, value: local(value), onChange: (event: Event) => move(change(new Date((event.target as HTMLInputElement).value).getTime() || value)) });
    fill(
      bar,
      h("div", { class: "group", role: "group", "aria-label": "The last" }, PRESETS.map(preset)),
      h("div", { class: "group dates" }, input("From", from, (at) => ({ from: at, until: Math.max(until, at + HOUR) })), h("span", {}, "to"), input("Until", until, (at) => ({ from: Math.min(from, at - HOUR), until: at }))),
      h("div", { class: "group" }, h("button", { type: "button", class: "small", "aria-label": "Earlier", title: "Earlier (←)", onClick: () => by(-0.5, 1) }, "←"), h("button", { type: "button", class: "small", title: "Zoom out (-)", onClick: () => by(0, 2) }, "Zoom out"), h("button", { type: "button", class: "small", "aria-label": "Later", title: "Later (→)", onClick: () => by(0.5, 1) }, "→")),
    );
  };
  const header = () => {
    const { kind, text, detail } = state(one);
    fill(
      about,
      h("div", { class: "head" }, h("h1", {}, name), h("span", { class: `state ${kind}` }, text), h("span", { class: "grow" }), h("div", { class: "actions" }, actions(one, read))),
      h("p", { class: "faint" }, h("code", {}, one.document.query), one.document.description ? ` · ${one.document.description}` : ""),
      detail ? h("p", { class: "trouble" }, detail) : null,
    );
  };

  header();
  controls();
  list();
  await load().catch((error) => fill(note, trouble(error)));
  every(15, signal, () => "span" in range && read());
  keys({ "[": ["The series before", () => next(-1)], "]": ["The next series", () => next(1)], ArrowLeft: ["Earlier", () => by(-0.5, 1)], ArrowRight: ["Later", () => by(0.5, 1)], "-": ["Zoom out", () => by(0, 2)], "+": ["Zoom in", () => by(0, 0.5)], r: ["Read again", read], e: ["Edit", () => go(`#/pipelines/${encodeURIComponent(name)}/edit`)] });
  return h("div", {}, about, bar, h("div", { class: "split" }, h("aside", {}, search, picker), h("section", { "aria-label": "Chart" }, chart.element, note, below)));

  function table(own: Incident[]): HTMLElement | null {
    if (!own.length) return null;
    const head = ["Incident", "Severity", "Series", "Highest score", "Verdict"].map((title) => h("th", { scope: "col" }, title));
    const row = (incident: Incident) => {
      const [from, until] = [Date.parse(incident.started_at), Date.parse(incident.ended_at)];
      const room = Math.max(until - from, HOUR) * 3;
      return h("tr", {}, h("td", {}, h("button", { type: "button", class: "link", onClick: () => move({ from: from - room, until: until + room }) }, `${time(from)} to ${time(until)}`)), h("td", {}, severityOf(incident)), h("td", {}, incident.series_count > 1 ? who(incident) : "this one"), h("td", { class: "odd" }, score(incident.peak.score)), h("td", {}, verdicts(incident, read)));
    };
    return h("table", {}, h("thead", {}, h("tr", {}, head)), h("tbody", {}, own.map(row)));
  }
};

