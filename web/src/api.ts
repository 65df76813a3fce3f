// The service, asked over HTTP.

/** One thing that is wrong in what was sent. */
export interface Fault {
  path: string;
  message: string;
  line?: number;
  column?: number;
}

/** Why the service did not do what it was asked, in its own words. */
export class Problem extends Error {
  constructor(readonly status: number, readonly code: string, detail: string, readonly errors: Fault[], readonly requestId?: string) {
    super(detail);
  }
}

const KEY = "openanomaly-key";

/** A key that somebody has pasted; it is forgotten with the tab. */
export const key = {
  get: () => sessionStorage.getItem(KEY),
  set: (value: string) => sessionStorage.setItem(KEY, value),
  forget: () => sessionStorage.removeItem(KEY),
};

type Body = unknown;
export interface Options {
  body?: Body;
  /** A body that is YAML already. */
  yaml?: string;
  etag?: string;
  signal?: AbortSignal;
}

export interface Answer<T> {
  body: T;
  etag: string | null;
}

async function send(method: string, path: string, options: Options, accept: string): Promise<Response> {
  const headers: Record<string, string> = { accept };
  const own = key.get();
  if (own) headers.authorization = `Bearer ${own}`;
  if (options.body !== undefined) headers["content-type"] = "application/json";
  if (options.yaml !== undefined) headers["content-type"] = "application/yaml";
  if (options.etag) headers["if-match"] = options.etag;
  const init: RequestInit = { method, headers, credentials: "same-origin" };
  if (options.signal) init.signal = options.signal;
  if (options.body !== undefined) init.body = JSON.stringify(options.body);
  if (options.yaml !== undefined) init.body = options.yaml;
  let response: Response;
  try {
    response = await fetch(path, init);
  } catch (error) {
    if (error instanceof DOMException && error.name === "AbortError") throw error;
    throw new Problem(0, "unreachable", "The service can't be reached. Is it running?", []);
  }
  if (response.ok) return response;
  const text = await response.text();
  let found: Record<string, unknown> = {};
  try {
    found = JSON.parse(text);
  } catch {
    // Something in front of the service may answer in its own way.
  }
  const detail = String(found.detail ?? found.message ?? (text.slice(0, 300) || response.statusText));
  const problem = new Problem(response.status, String(found.code ?? ""), detail, (found.errors as Fault[]) ?? [], found.request_id as string);
  if (response.status === 401 && path !== "/api/v1/login") window.dispatchEvent(new CustomEvent("unauthorized"));
  throw problem;
}

/** Asks, and waits for the answer. */
export async function ask<T>(method: string, path: string, options: Options = {}): Promise<Answer<T>> {
  const response = await send(method, path, options, "application/json");
  const text = await response.text();
  return { body: (text ? JSON.parse(text) : null) as T, etag: response.headers.get("etag") };
}

export const get = async <T>(path: string, signal?: AbortSignal): Promise<T> => (await ask<T>("GET", path, signal ? { signal } : {})).body;
export const post = async <T>(path: string, body: Body, signal?: AbortSignal): Promise<T> => (await ask<T>("POST", path, { body, ...(signal ? { signal } : {}) })).body;

/** All items of a list that comes in pages, at most `most`. */
export async function all<T>(path: string, signal?: AbortSignal, most = 1000): Promise<T[]> {
  const items: T[] = [];
  let next: string | null | undefined;
  do {
    const url = next ? `${path}${path.includes("?") ? "&" : "?"}cursor=${encodeURIComponent(next)}` : path;
    const page: { items: T[]; next?: string | null } = await get(url, signal);
    items.push(...page.items);
    next = page.next;
  } while (next && items.length < most);
  return items;
}

/** A path with its parameters; those that are empty are left out. */
export function url(path: string, params: Record<string, string | number | undefined | null>): string {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(params)) if (value !== undefined && value !== null && value !== "") query.set(name, String(value));
  return query.size ? `${path}?${query}` : path;
}

/** Events as they come: of a job, or of new incidents. An EventSource could not send a key. */
export async function events(path: string, signal: AbortSignal, heard: (event: string, data: unknown) => void): Promise<void> {
  const response = await send("GET", path, { signal }, "text/event-stream");
  const reader = response.body!.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    const blocks = (rest + value).replace(/\r/g, "").split("\n\n");
    rest = blocks.pop() ?? "";
    for (const block of blocks) {
      const lines = block.split("\n");
      const field = (name: string) => lines.filter((line) => line.startsWith(`${name}:`)).map((line) => line.slice(name.length + 1).trim()).join("\n");
      const data = field("data");
      if (data) heard(field("event") || "message", JSON.parse(data));
    }
  }
}
