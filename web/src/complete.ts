// Names of metrics, offered while somebody writes a query.

import { get, url } from "./api";
import { fill, h } from "./dom";

const WORD = /[a-zA-Z_:][a-zA-Z0-9_:]*$/;

/** `field` with a list of names below it: arrows choose, Tab or Enter takes, Esc closes. */
export function complete(field: HTMLTextAreaElement, source: () => string): HTMLElement {
  const list = h("div", { class: "choices", role: "listbox", id: "choices", hidden: true });
  let names: string[] = [];
  let at = -1;
  let asked = 0;
  const word = () => WORD.exec(field.value.slice(0, field.selectionStart))?.[0] ?? "";
  const close = () => {
    list.hidden = true;
    names = [];
    at = -1;
  };
  const take = (name: string) => {
    const end = field.selectionStart;
    field.setRangeText(name, end - word().length, end, "end");
    close();
    field.dispatchEvent(new Event("input", { bubbles: true }));
    close();
  };
  const draw = () => {
    list.hidden = !names.length;
    field.setAttribute("aria-expanded", String(!list.hidden));
    fill(list, names.map((name, index) => h("div", { role: "option", "aria-selected": String(index === at), onMousedown: (event: Event) => (event.preventDefault(), take(name)) }, name)));
  };
  field.addEventListener("input", async () => {
    const wanted = word();
    const mine = ++asked;
    if (wanted.length < 2) return close();
    try {
      const { items } = await get<{ items: string[] }>(url(`/api/v1/datasources/${encodeURIComponent(source())}/metrics`, { match: wanted }));
      if (mine !== asked || document.activeElement !== field) return;
      names = items.filter((name) => name !== wanted).sort((a, b) => a.indexOf(wanted) - b.indexOf(wanted)).slice(0, 8);
      at = -1;
      draw();
    } catch {
      close();
    }
  });
  field.addEventListener("keydown", (event) => {
    if (list.hidden) return;
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (step) at = (at + step + names.length) % names.length;
    else if (event.key === "Escape") close();
    else if ((event.key === "Enter" || event.key === "Tab") && at >= 0) take(names[at]!);
    else return;
    event.preventDefault();
    event.stopPropagation();
    draw();
  });
  field.addEventListener("blur", close);
  for (const [name, value] of Object.entries({ role: "combobox", "aria-autocomplete": "list", "aria-controls": "choices", "aria-expanded": "false", autocomplete: "off", spellcheck: "false" })) field.setAttribute(name, value);
  return h("div", { class: "complete" }, field, list);
}
