// All pipelines, and how they go.

import { all, ask, post } from "../api";
import { button, confirmed, empty, every, fill, h, toast } from "../dom";
import { ago } from "../format";
import { go, type View } from "../shell";
import type { Incident, Pipeline } from "../types";

const DAY = 86_400_000;

/** How many incidents a pipeline had in a day, and how many of them go on. */
type Counts = Map<string, { all: number; open: number }>;

export const pipelines: View = async ({ signal, keys }) => {
  const list = h("div");
  const search = h("input", { type: "search", placeholder: "Search", "aria-label": "Search pipelines", onInput: () => draw() });
  let items: Pipeline[] = [];
  let counts: Counts = new Map();

  const load = async () => {
    const from = new Date(Date.now() - DAY).toISOString();
    const [found, incidents] = await Promise.all([
      all<Pipeline>("/api/v1/pipelines", signal),
      // Without its incidents the list is still worth showing.
      all<Incident>(`/api/v1/anomalies?from=${from}`, signal).catch((): Incident[] => []),
    ]);
    items = found;
    counts = new Map();
    for (const one of incidents) {
      const { all, open } = counts.get(one.pipeline) ?? { all: 0, open: 0 };
      counts.set(one.pipeline, { all: all + 1, open: open + (one.open ? 1 : 0) });
    }
    draw();
  };
  const draw = () => {
    const wanted = search.value.toLowerCase();
    const shown = items.filter((one) => `${one.name} ${one.document.query ?? ""} ${one.document.description ?? ""}`.toLowerCase().includes(wanted));
    if (!items.length) fill(list, empty("No pipelines yet", "A pipeline watches a query. ", h("a", { href: "#/playground" }, "Make one in the playground"), ", see what it would find, and save it."));
    else if (!shown.length) fill(list, empty("Nothing is found", "No pipeline has “", search.value, "” in its name, query or description."));
    else fill(list, h("div", { class: "wide-table" }, table(shown, counts, load)));
  };

  await load();
  every(10, signal, () => load().catch(() => undefined));
  keys({ r: ["Read again", load] });
  return h(
    "div",
    {},
    h("div", { class: "head" }, h("h1", {}, "Pipelines"), h("span", { class: "grow" }), search, h("a", { class: "button primary", href: "#/playground" }, "New pipeline")),
    list,
  );
};

function table(items: Pipeline[], counts: Counts, load: () => Promise<void>): HTMLElement {
  const head = ["Name", "Query", "Model", "State", "Incidents, 24 h", ""].map((title) => h("th", { scope: "col" }, title || h("span", { class: "hidden" }, "Actions")));
  return h("table", { class: "cards" }, h("thead", {}, h("tr", {}, head)), h("tbody", {}, items.map((one) => row(one, counts.get(one.name) ?? { all: 0, open: 0 }, load))));
}

function row(one: Pipeline, incidents: { all: number; open: number }, load: () => Promise<void>): HTMLElement {
  const route = `#/pipelines/${encodeURIComponent(one.name)}`;
  const { kind, text, detail } = state(one);
  return h(
    "tr",
    {},
    h("td", { "data-name": "Name" }, h("a", { class: "name", href: route }, one.name), one.document.description ? h("div", { class: "faint one", title: one.document.description }, one.document.description) : null),
    h("td", { "data-name": "Query" }, h("code", { class: "cut", title: one.document.query }, one.document.query)),
    h("td", { "data-name": "Model" }, one.document.model?.id ?? one.document.model?.type ?? "mstl"),
    h("td", { "data-name": "State" }, h("span", { class: `state ${kind}` }, text), detail ? h("div", { class: "faint", title: detail }, detail) : null),
    h("td", { "data-name": "Incidents, 24 h" }, incidents.all ? h("a", { href: `#/incidents?pipeline=${encodeURIComponent(one.name)}` }, incidents.all) : "0", incidents.open ? h("div", {}, h("span", { class: "state run" }, `${incidents.open} open`)) : null),
    h("td", { class: "actions" }, actions(one, load)),
  );
}

/** How it goes, in a word, and why. */
export function state(one: Pipeline): { kind: string; text: string; detail?: string } {
  if (one.errors?.length) return { kind: "bad", text: "not right", detail: one.errors.map((fault) => (fault.path ? `${fault.path}: ${fault.message}` : fault.message)).join("; ") };
  if (one.document.enabled === false) return { kind: "off", text: "off" };
  const errors = Object.entries(one.status?.errors ?? {});
  if (errors.length) return { kind: "bad", text: "fails", detail: errors.map(([stage, reason]) => `${stage}: ${reason}`).join("; ") };
  if (one.status?.last_success) return { kind: "good", text: ago(one.status.last_success) };
  return { kind: "wait", text: "waits for its first pass" };
}

/** What can be done with a pipeline. */
export function actions(one: Pipeline, load: () => unknown): HTMLElement[] {
  const path = `/api/v1/pipelines/${encodeURIComponent(one.name)}`;
  const run = async () => {
    await post(`/pipelines/${encodeURIComponent(one.name)}/inference`, {});
    toast(`${one.name} is run now`);
    load();
  };
  const toggle = async () => {
    const enabled = one.document.enabled === false;
    await ask("PATCH", path, { body: { enabled }, etag: `"${one.version}"` });
    toast(`${one.name} is ${enabled ? "on" : "off"}`);
    load();
  };
  const remove = async () => {
    if (!(await confirmed(`Delete the pipeline ${one.name}? Its scores stay in the database of series.`, "Delete"))) return;
    await ask("DELETE", path, { etag: `"${one.version}"` });
    toast(`${one.name} is deleted`);
    location.hash.startsWith("#/pipelines/") ? go("#/pipelines") : load();
  };
  const about = { "aria-label": `of ${one.name}` };
  const named = (what: string) => ({ class: "small", "aria-label": `${what} ${about["aria-label"].slice(3)}` });
  const fixed = one.read_only ? { disabled: true, title: `It is kept in ${one.origin}, which is only read` } : {};
  return [
    button("Run now", run, named("Run now")),
    button(one.document.enabled === false ? "Enable" : "Disable", toggle, { ...named(one.document.enabled === false ? "Enable" : "Disable"), ...fixed }),
    h("a", { class: "button small", href: `#/pipelines/${encodeURIComponent(one.name)}/edit`, "aria-label": `${one.read_only ? "View" : "Edit"} ${one.name}` }, one.read_only ? "View" : "Edit"),
    button("Delete", remove, { ...named("Delete"), ...fixed }),
  ];
}
