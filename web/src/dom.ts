// Elements, without a framework: a function that makes one, and a few that change what is shown.

export type Child = Node | string | number | null | undefined | false | Child[];
type Props = Record<string, unknown>;

/** Makes an element. `onX` listens, what is false or missing is left out, all else is an attribute. */
export function h<K extends keyof HTMLElementTagNameMap>(tag: K, props: Props = {}, ...children: Child[]): HTMLElementTagNameMap[K] {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) {
    if (value === undefined || value === null || value === false) continue;
    if (typeof value === "function") element.addEventListener(name.slice(2).toLowerCase(), value as EventListener);
    else if (name === "value") (element as unknown as { value: unknown }).value = value;
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  add(element, children);
  // The options of a select are there only now.
  if (tag === "select" && props.value !== undefined) (element as unknown as HTMLSelectElement).value = String(props.value);
  return element;
}

function add(parent: Node, child: Child): void {
  if (Array.isArray(child)) child.forEach((one) => add(parent, one));
  else if (child instanceof Node) parent.appendChild(child);
  else if (child !== null && child !== undefined && child !== false) parent.appendChild(document.createTextNode(String(child)));
}

/** Puts `children` in the place of what `element` holds. */
export function fill(element: Element, ...children: Child[]): void {
  element.replaceChildren();
  add(element, children);
}

/** A button that does `action`, and can't be pressed again before that is done. */
export function button(label: Child, action: () => unknown, props: Props = {}): HTMLButtonElement {
  const element = h("button", { type: "button", ...props }, label);
  element.addEventListener("click", async () => {
    element.disabled = true;
    try {
      await action();
    } catch (error) {
      toast(String(error instanceof Error ? error.message : error), "bad");
    } finally {
      element.disabled = false;
    }
  });
  return element;
}

/** Says something for a moment, to ears too. */
export function toast(text: string, kind: "good" | "bad" = "good"): void {
  const box = document.getElementById("toasts");
  const one = h("div", { class: `toast ${kind}`, role: kind === "bad" ? "alert" : "status" }, text);
  box?.append(one);
  setTimeout(() => one.remove(), kind === "bad" ? 9000 : 4000);
}

/** What is shown where there is nothing else, and what to do about it. */
export function empty(title: string, ...what: Child[]): HTMLElement {
  return h("div", { class: "empty" }, h("h2", {}, title), h("p", {}, what));
}

/** Asks before something that can't be undone; Enter or the button says yes, Esc says no. */
export function confirmed(question: string, yes: string): Promise<boolean> {
  return new Promise((resolve) => {
    const dialog = h("dialog", { "aria-label": question });
    const answer = (value: boolean) => () => (resolve(value), dialog.close());
    const accept = h("button", { type: "button", class: "danger", onClick: answer(true), autofocus: true }, yes);
    add(dialog, [h("p", {}, question), h("div", { class: "row end" }, h("button", { type: "button", onClick: answer(false) }, "Cancel"), accept)]);
    dialog.addEventListener("close", () => (resolve(false), dialog.remove()));
    document.body.append(dialog);
    dialog.showModal();
  });
}

/** Calls `work` again and again while the view is there and the page is seen. */
export function every(seconds: number, signal: AbortSignal, work: () => unknown): void {
  const timer = setInterval(() => document.visibilityState === "visible" && work(), seconds * 1000);
  signal.addEventListener("abort", () => clearInterval(timer));
}
