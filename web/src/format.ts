// Numbers, times and names, for people.

const UNITS: [number, string][] = [[1e12, "T"], [1e9, "G"], [1e6, "M"], [1e3, "k"]];

/** A number in at most four digits or so: 1234 is 1,234, 1234567 is 1.235M. */
export function number(value: number | null | undefined): string {
  if (value === null || value === undefined || !Number.isFinite(value)) return "–";
  const size = Math.abs(value);
  if (size >= 1e15 || (size > 0 && size < 1e-4)) return value.toExponential(2);
  if (size >= 1e5) {
    const [unit, letter] = UNITS.find(([unit]) => size >= unit) ?? [1, ""];
    return trim(value / unit) + letter;
  }
  return trim(value);
}

function trim(value: number): string {
  const size = Math.abs(value);
  const digits = size >= 1000 ? 0 : size >= 100 ? 1 : size >= 1 ? 2 : 4;
  return value.toLocaleString("en", { maximumFractionDigits: digits });
}

/** A score: 1 is the edge of the band. */
export function score(value: number | null | undefined): string {
  return value === null || value === undefined ? "–" : value >= 100 ? number(value) : value.toFixed(value >= 10 ? 1 : 2);
}

const pad = (value: number) => String(value).padStart(2, "0");

/** A time of this place: 26 Nov 07:05, with the year where it is another one. */
export function time(value: number | string | null | undefined, seconds = false): string {
  if (value === null || value === undefined) return "–";
  const date = new Date(value);
  const month = date.toLocaleString("en", { month: "short" });
  const year = date.getFullYear() === new Date().getFullYear() ? "" : ` ${date.getFullYear()}`;
  return `${date.getDate()} ${month}${year} ${pad(date.getHours())}:${pad(date.getMinutes())}${seconds ? `:${pad(date.getSeconds())}` : ""}`;
}

/** For `datetime-local`. */
export function local(millis: number): string {
  const date = new Date(millis);
  return `${date.getFullYear()}-${pad(date.getMonth() + 1)}-${pad(date.getDate())}T${pad(date.getHours())}:${pad(date.getMinutes())}`;
}

/** A stretch of time: 2d 3h, 5m, 20s. */
export function duration(millis: number): string {
  let rest = Math.max(0, Math.round(millis / 1000));
  const parts: string[] = [];
  for (const [size, unit] of [[86400, "d"], [3600, "h"], [60, "m"], [1, "s"]] as const) {
    if (rest >= size && parts.length < 2) parts.push(`${Math.floor(rest / size)}${unit}`);
    rest %= size;
  }
  return parts.join(" ") || "0s";
}

/** How long ago that was. */
export function ago(value: number | string): string {
  const since = Date.now() - new Date(value).getTime();
  return since < 5000 ? "just now" : `${duration(since - (since > 60_000 ? since % 60_000 : 0))} ago`;
}

/** Which labels are not the same in all of `all`: those that tell the series apart. */
export function telling(all: Record<string, string>[]): string[] {
  const names = new Set(all.flatMap((labels) => Object.keys(labels)));
  const apart = [...names].filter((name) => new Set(all.map((labels) => labels[name] ?? "")).size > 1);
  return apart.length ? apart : [...names].filter((name) => name !== "__name__");
}

/** A series by the labels in `names`: `instance=a · job=b`. */
export function short(labels: Record<string, string>, names: string[]): string {
  const own = names.filter((name) => name !== "__name__" && labels[name]).map((name) => labels[name]);
  return [...(names.includes("__name__") || !own.length ? [labels.__name__ ?? ""] : []), ...own].filter(Boolean).join(" · ") || "the only series";
}

/** A series as PromQL writes it. */
export function series(labels: Record<string, string>): string {
  const quoted = (value: string) => `"${value.replace(/\\/g, "\\\\").replace(/"/g, '\\"').replace(/\n/g, "\\n")}"`;
  const rest = Object.keys(labels).filter((name) => name !== "__name__").sort().map((name) => `${name}=${quoted(labels[name]!)}`);
  return `${labels.__name__ ?? ""}{${rest.join(", ")}}`;
}
