// A pipeline as the document that it is, with all that is wrong in it shown where it is.

import { ask, Problem, type Fault } from "../api";
import { button, fill, h, toast } from "../dom";
import { go, trouble, type View } from "../shell";
import type { Pipeline } from "../types";
import * as yaml from "../yaml";

export const editor: View = async ({ path, signal, keys }) => {
  const name = path[0]!;
  const url = `/api/v1/pipelines/${encodeURIComponent(name)}`;
  const back = `#/pipelines/${encodeURIComponent(name)}`;
  const { body, etag } = await ask<Pipeline>("GET", url, { signal });
  const kept = yaml.text(body.document);
  const text = h("textarea", { spellcheck: "false", autocapitalize: "off", "aria-label": "The document of the pipeline", "aria-describedby": "faults", readonly: body.read_only, value: kept });
  const gutter = h("div", { class: "gutter", "aria-hidden": "true" });
  const faults = h("div", { id: "faults", class: "faults", role: "status" });

  const show = (errors: Fault[]) => {
    const wrong = new Map(errors.map((fault) => [fault.line ?? 1, fault.message]));
    fill(gutter, text.value.split("\n").map((_, at) => h("div", wrong.has(at + 1) ? { class: "wrong", title: wrong.get(at + 1) } : {}, at + 1)));
    gutter.scrollTop = text.scrollTop;
    text.setAttribute("aria-invalid", errors.length ? "true" : "false");
    fill(faults, errors.length ? h("ul", {}, errors.map(item)) : h("p", { class: "state good" }, "This is right."));
  };
  const item = ({ line, column, path, message }: Fault) => {
    const jump = () => {
      const before = text.value.split("\n").slice(0, (line ?? 1) - 1);
      const at = before.join("\n").length + (before.length ? 1 : 0) + (column ?? 1) - 1;
      text.focus();
      text.setSelectionRange(at, at);
    };
    return h("li", {}, line ? [h("button", { type: "button", class: "link", onClick: jump }, `line ${line}`), " "] : null, path ? [h("code", {}, path), ": "] : null, message);
  };
  const check = async () => {
    try {
      const { body } = await ask<{ errors: Fault[] }>("POST", "/api/v1/validate", { yaml: text.value, signal });
      show(body.errors);
    } catch (error) {
      if (!signal.aborted) failed(error);
    }
  };
  const failed = (error: unknown) => {
    if (error instanceof Problem && error.errors.length) return show(error.errors);
    if (error instanceof Problem && error.status === 412) return fill(faults, h("p", { class: "trouble", role: "alert" }, "Somebody else has changed it since you opened it. Copy your text, and open it again."));
    fill(faults, trouble(error));
  };
  const again = () => {
    text.value = kept;
    return check();
  };
  const end = body.read_only
    ? h("a", { class: "button", href: back }, "Back")
    : [h("a", { class: "button", href: back }, "Cancel"), button("Start again", again, { title: "With what is kept" }), h("button", { class: "primary" }, "Save")];
  const form = h("form", { class: "editor" }, h("div", { class: "code" }, gutter, text), faults, h("div", { class: "row end" }, end));
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    try {
      await ask("PUT", url, { yaml: text.value, etag: etag ?? `"${body.version}"` });
      toast(`${name} is saved`);
      go(back);
    } catch (error) {
      failed(error);
    }
  });

  let waiting = 0;
  text.addEventListener("input", () => {
    clearTimeout(waiting);
    waiting = window.setTimeout(check, 300);
  });
  text.addEventListener("scroll", () => (gutter.scrollTop = text.scrollTop));
  text.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) form.requestSubmit();
  });
  signal.addEventListener("abort", () => clearTimeout(waiting));
  show([]);
  await check();
  keys({ e: ["Into the text", () => text.focus()] });
  const hint = body.read_only ? `It is kept in ${body.origin}, which is only read: change it there.` : "What is wrong is shown as you write. Ctrl-Enter saves.";
  return h("div", {}, h("div", { class: "head" }, h("h1", {}, body.read_only ? name : `Edit ${name}`)), h("p", { class: "faint" }, hint), form);
};
