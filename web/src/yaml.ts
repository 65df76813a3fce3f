// JSON as YAML, as a person would write it. The service reads it back.

const PLAIN = /^[A-Za-z_][A-Za-z0-9_./()-]*( [A-Za-z0-9_./()-]+)*$|^[0-9]+(ms|[smhdwy])$/;
const WORD = /^(true|false|null|yes|no|on|off|y|n)$/i;

/** The text of `value`. */
export function yaml(value: unknown, indent = ""): string {
  if (Array.isArray(value)) {
    if (!value.length) return "[]";
    if (value.every((one) => typeof one !== "object" || one === null)) return `[${value.map((one) => yaml(one)).join(", ")}]`;
    return value.map((one) => `\n${indent}- ${yaml(one, `${indent}  `).trimStart()}`).join("");
  }
  if (typeof value === "object" && value !== null) {
    const entries = Object.entries(value);
    if (!entries.length) return "{}";
    const inner = (one: unknown) => {
      const text = yaml(one, `${indent}  `);
      return text.startsWith("\n") ? text : ` ${text}`;
    };
    return entries.map(([name, one]) => `\n${indent}${yaml(name)}:${inner(one)}`).join("");
  }
  if (typeof value === "string") return PLAIN.test(value) && !WORD.test(value) ? value : JSON.stringify(value);
  return String(value);
}

/** A whole document. */
export const text = (value: unknown) => yaml(value).trimStart();
