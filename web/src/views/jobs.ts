// Long work: what runs, how far it is, and how to begin more of it.

import { all, ask, events, post } from "../api";
import { button, empty, every, fill, h, toast } from "../dom";
import { ago, local, time } from "../format";
import { trouble, type View } from "../shell";
import type { Job, Pipeline } from "../types";

const DAY = 86_400_000;
const KINDS: [string, string][] = [
  ["backfill", "Score the history, and write the scores"],
  ["backtest", "Score the history, and write nothing"],
  ["train", "Train the model"],
  ["predict", "Forecast now"],
];

export const jobs: View = async ({ query, signal, keys }) => {
  const list = h("div");
  const names = (await all<Pipeline>("/api/v1/pipelines", signal)).map((one) => one.name);
  const load = async () => {
    const items = await all<Job>("/api/v1/jobs", signal, 200);
    fill(list, items.length ? h("div", { class: "wide-table" }, table(items, load)) : empty("No jobs yet", "Jobs are long work: scoring the history of a pipeline, a backtest, a training. Begin one above."));
  };
  const ask_for = query.get("backfill");
  const form = names.length ? starter(names, ask_for, load) : null;
  await load();
  every(2, signal, () => load().catch(() => undefined));
  keys({ r: ["Read again", load] });
  return h("div", {}, h("div", { class: "head" }, h("h1", {}, "Jobs")), form, list);
};

function starter(names: string[], chosen: string | null, load: () => unknown): HTMLElement {
  const said = h("div");
  const kind = h("select", { name: "kind", value: "backfill" }, KINDS.map(([value, label]) => h("option", { value }, label)));
  const pipeline = h("select", { name: "pipeline", value: chosen ?? names[0] }, names.map((name) => h("option", { value: name }, name)));
  const from = h("input", { type: "datetime-local", value: local(Date.now() - 7 * DAY) });
  const until = h("input", { type: "datetime-local", value: local(Date.now()) });
  const times = h("div", { class: "group" }, h("label", {}, "From", from), h("label", {}, "Until", until));
  kind.addEventListener("change", () => (times.hidden = !kind.value.startsWith("back")));
  const form = h("form", { class: "inline panel" }, h("label", {}, "What", kind), h("label", {}, "Pipeline", pipeline), times, h("button", { class: "primary" }, "Begin"), said);
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const iso = (input: HTMLInputElement) => new Date(input.value).toISOString();
    const range = times.hidden ? {} : { from: iso(from), until: iso(until) };
    try {
      await post(`/api/v1/jobs/${kind.value}`, { pipeline: pipeline.value, ...range });
      fill(said);
      toast("The job is in the queue");
      load();
    } catch (error) {
      fill(said, trouble(error));
    }
  });
  return form;
}

const DONE = ["succeeded", "failed", "cancelled"];

function table(items: Job[], load: () => unknown): HTMLElement {
  const head = ["Job", "Pipeline", "State", "Progress", "Since", ""].map((title) => h("th", { scope: "col" }, title || h("span", { class: "hidden" }, "Actions")));
  const row = (one: Job) => {
    const cancel = async () => {
      await ask("DELETE", `/api/v1/jobs/${one.id}`);
      load();
    };
    const kind = one.state === "failed" ? "bad" : one.state === "succeeded" ? "good" : one.state === "running" ? "run" : "wait";
    return h(
      "tr",
      {},
      h("td", { "data-name": "Job" }, one.kind),
      h("td", { "data-name": "Pipeline" }, h("a", { href: `#/pipelines/${encodeURIComponent(one.pipeline)}` }, one.pipeline)),
      h("td", { "data-name": "State" }, h("span", { class: `state ${kind}` }, one.state)),
      h("td", { "data-name": "Progress" }, bar(one), h("div", { class: "faint" }, one.error ?? one.message)),
      h("td", { "data-name": "Since", title: time(one.created, true) }, ago(one.created)),
      h("td", { class: "actions" }, DONE.includes(one.state) ? null : button("Cancel", cancel, { class: "small", "aria-label": `Cancel ${one.kind} of ${one.pipeline}` })),
    );
  };
  return h("table", { class: "cards" }, h("thead", {}, h("tr", {}, head)), h("tbody", {}, items.map(row)));
}

function bar(one: Pick<Job, "progress" | "state" | "kind">): HTMLElement {
  const part = one.state === "succeeded" ? 1 : one.progress;
  return h("progress", { max: 1, value: part, "aria-label": `${one.kind}: ${Math.round(part * 100)} %` }, `${Math.round(part * 100)} %`);
}

/** Shows a job in `box` as it goes on, and answers how it ended. */
export async function follow(id: string, box: HTMLElement, signal: AbortSignal): Promise<Job> {
  let last: Job | undefined;
  const show = (job: Job) => {
    last = job;
    fill(box, bar(job), h("span", { class: "faint" }, job.message || job.state));
  };
  while (!last || !DONE.includes(last.state)) {
    await events(`/api/v1/jobs/${id}/events`, signal, (_, data) => show({ ...last, ...(data as Job) }));
    // The stream may have ended before the job did.
    show((await ask<Job>("GET", `/api/v1/jobs/${id}`, { signal })).body);
    if (!DONE.includes(last!.state)) await new Promise((done) => setTimeout(done, 500));
  }
  return last;
}
