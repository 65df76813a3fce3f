// What all views stand in: routes, the theme, shortcuts, and who is in.

import { ask, key, Problem, post } from "./api";
import { repaint } from "./chart";
import { button, fill, h, toast } from "./dom";

/** What a view is told. */
export interface Context {
  /** The parts of the route after its name. */
  path: string[];
  query: URLSearchParams;
  /** Aborted when the view is left. */
  signal: AbortSignal;
  /** Keys of this view, by what they do. */
  keys: (keys: Record<string, [string, () => unknown]>) => void;
}

export type View = (context: Context) => Promise<Node> | Node;

type Keys = Record<string, [string, () => unknown]>;

const main = h("main", { id: "main", tabindex: -1 });
let leaving = new AbortController();
let own: Keys = {};
let views: Record<string, View> = {};

/** Goes to a route, such as `#/pipelines/cpu`. */
export function go(route: string): void {
  location.hash = route;
}

/** Keeps what the view shows in the address, without leaving it. */
export function remember(params: Record<string, string | number | null | undefined>): void {
  const [route = "", query = ""] = location.hash.slice(1).split("?");
  const search = new URLSearchParams(query);
  for (const [name, value] of Object.entries(params)) {
    if (value === null || value === undefined || value === "") search.delete(name);
    else search.set(name, String(value));
  }
  history.replaceState(null, "", `#${route}${search.size ? `?${search}` : ""}`);
}

const NAV: [string, string, string][] = [
  ["pipelines", "Pipelines", "p"],
  ["incidents", "Incidents", "i"],
  ["playground", "Playground", "n"],
  ["jobs", "Jobs", "j"],
];

async function render(focus: boolean): Promise<void> {
  leaving.abort();
  leaving = new AbortController();
  own = {};
  const { signal } = leaving;
  const [route = "", query = ""] = location.hash.slice(1).split("?");
  const [name = "", ...path] = route.split("/").filter(Boolean).map(decodeURIComponent);
  const view = views[name || "pipelines"];
  for (const link of document.querySelectorAll("nav a")) {
    link.toggleAttribute("aria-current", link.getAttribute("href") === `#/${name || "pipelines"}`);
    if (link.hasAttribute("aria-current")) link.setAttribute("aria-current", "page");
  }
  if (!view) return fill(main, h("div", { class: "empty" }, h("h1", {}, "There is no such page"), h("p", {}, h("a", { href: "#/" }, "All pipelines"))));
  try {
    const shown = await view({ path, query: new URLSearchParams(query), signal, keys: (keys) => Object.assign(own, keys) });
    if (signal.aborted) return;
    fill(main, shown);
    const heading = main.querySelector("h1");
    document.title = `${heading?.textContent ?? ""} · OpenAnomaly`;
    if (focus) main.focus({ preventScroll: true }), window.scrollTo(0, 0);
  } catch (error) {
    if (signal.aborted) return;
    if (error instanceof Problem && error.status === 401) return fill(main);
    fill(main, h("h1", {}, "This can't be shown"), trouble(error), h("p", {}, button("Try again", () => render(false))));
  }
}

/** What the service said when it refused: all of it. */
export function trouble(error: unknown): HTMLElement {
  const problem = error instanceof Problem ? error : null;
  return h(
    "div",
    { class: "trouble", role: "alert" },
    h("p", {}, error instanceof Error ? error.message : String(error)),
    problem?.errors.length ? h("ul", {}, problem.errors.map((fault) => h("li", {}, fault.path ? [h("code", {}, fault.path), ": "] : null, fault.message))) : null,
    problem?.requestId ? h("p", { class: "faint" }, `request ${problem.requestId}`) : null,
  );
}

const GLOBAL: Keys = {
  ...Object.fromEntries(NAV.map(([name, title, letter]) => [letter, [title, () => go(`#/${name}`)]])),
  "/": ["Search", () => document.querySelector<HTMLElement>("[type=search]")?.focus()],
  t: ["Light or dark", () => theme(true)],
  "?": ["This help", () => help()],
};

function pressed(event: KeyboardEvent): void {
  const target = event.target as HTMLElement;
  if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
  if (target.matches("input, textarea, select")) {
    if (event.key === "Escape") target.blur();
    return;
  }
  const found = own[event.key] ?? GLOBAL[event.key];
  if (!found) return;
  event.preventDefault();
  found[1]();
}

function help(): void {
  const list = (keys: Keys) => Object.entries(keys).map(([name, [what]]) => [h("dt", {}, h("kbd", {}, name.replace("Arrow", "").replace("Left", "←").replace("Right", "→"))), h("dd", {}, what)]);
  const dialog = h("dialog", { class: "help", "aria-label": "Keyboard shortcuts" }, h("h2", {}, "Keyboard"));
  dialog.append(h("dl", {}, list(GLOBAL), list(own)), h("form", { method: "dialog", class: "row end" }, h("button", { autofocus: true }, "Close")));
  dialog.querySelector("form")!.addEventListener("submit", (event) => (event.preventDefault(), dialog.close()));
  dialog.addEventListener("close", () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal();
}

/** Puts the kept theme in place; the other one where it is to change. */
function theme(change: boolean): void {
  const root = document.documentElement;
  const dark = () => matchMedia("(prefers-color-scheme: dark)").matches;
  if (change) localStorage.setItem("theme", (root.dataset.theme ?? (dark() ? "dark" : "light")) === "dark" ? "light" : "dark");
  const kept = localStorage.getItem("theme");
  if (kept) root.dataset.theme = kept;
  repaint();
}

/** Asks who it is, until the service lets them in. */
function login(): void {
  if (document.querySelector("dialog.login")) return;
  const wrong = h("p", { class: "trouble", role: "alert", hidden: true });
  const form = h(
    "form",
    {},
    h("h2", {}, "Who are you?"),
    h("label", {}, "Name", h("input", { name: "name", autocomplete: "username", autofocus: true })),
    h("label", {}, "Password", h("input", { name: "password", type: "password", autocomplete: "current-password" })),
    h("p", { class: "or" }, "or"),
    h("label", {}, "API key", h("input", { name: "key", type: "password", autocomplete: "off" })),
    wrong,
    h("div", { class: "row end" }, h("button", { class: "primary" }, "Log in")),
  );
  const dialog = h("dialog", { class: "login", "aria-label": "Log in" }, form);
  dialog.addEventListener("cancel", (event) => event.preventDefault());
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const value = (name: string) => (form.elements.namedItem(name) as HTMLInputElement).value;
    try {
      if (value("key")) {
        key.set(value("key").trim());
        await ask("GET", "/api/v1/me");
      } else {
        key.forget();
        await post("/api/v1/login", { name: value("name"), password: value("password") });
      }
      dialog.remove();
      whoami();
      render(false);
    } catch (error) {
      key.forget();
      wrong.hidden = false;
      const is_wrong = error instanceof Problem && error.status === 401 && value("key");
      wrong.textContent = is_wrong ? "This key is not accepted." : error instanceof Error ? error.message : String(error);
    }
  });
  document.body.append(dialog);
  dialog.showModal();
}

/** Shows who is in, where that is not just anybody. */
async function whoami(): Promise<void> {
  const me = await ask<{ name: string; role: string }>("GET", "/api/v1/me").catch(() => null);
  const out = document.querySelector<HTMLElement>(".out")!;
  out.hidden = !me || me.body.name === "anonymous";
  out.title = me ? `${me.body.name}, ${me.body.role}` : "";
}

async function logout(): Promise<void> {
  await ask("POST", "/api/v1/logout");
  key.forget();
  toast("Logged out");
  whoami();
  render(false);
}

/** Starts the page. */
export function start(all: Record<string, View>): void {
  views = all;
  theme(false);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", repaint);
  const link = ([name, title, letter]: [string, string, string]) => h("a", { href: `#/${name}`, title: `${title} (${letter})` }, title);
  const skip = h("a", { class: "skip", href: "#main", onClick: (event: Event) => (event.preventDefault(), main.focus()) }, "Skip to the content");
  document.body.replaceChildren(
    skip,
    h(
      "header",
      {},
      h("a", { class: "brand", href: "#/", "aria-label": "OpenAnomaly, all pipelines" }, h("span", { class: "dot", "aria-hidden": "true" }), "OpenAnomaly"),
      h("nav", { "aria-label": "Pages" }, NAV.map(link)),
      h("span", { class: "grow" }),
      button("◐", () => theme(true), { class: "icon", title: "Light or dark (t)", "aria-label": "Light or dark" }),
      button("?", () => help(), { class: "icon", title: "Keyboard (?)", "aria-label": "Keyboard shortcuts" }),
      button("Log out", logout, { class: "icon out", hidden: true }),
    ),
    main,
    h("div", { id: "toasts" }),
  );
  window.addEventListener("hashchange", () => render(true));
  window.addEventListener("unauthorized", login);
  document.addEventListener("keydown", pressed);
  whoami();
  render(false);
}
