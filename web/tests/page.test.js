// What people do with the page, from nothing to an incident on the chart.

import assert from "node:assert/strict";
import { mkdir, mkdtemp } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { browser as launch, open, start } from "./program.js";

const MOST_BYTES = 120_000;
const PHONE = { viewport: { width: 390, height: 844 }, isMobile: true, hasTouch: true, deviceScaleFactor: 2 };
const VIEWS = ["#/pipelines", "#/pipelines/requests", "#/pipelines/requests/edit", "#/incidents", "#/playground", "#/jobs"];

let program, browser, shots;

before(async () => {
  shots = process.env.SHOTS ?? (await mkdtemp(join(tmpdir(), "openanomaly-shots-")));
  await mkdir(shots, { recursive: true });
  [program, browser] = [await start(), await launch()];
});

after(async () => {
  await browser?.close();
  await program?.stop();
  console.log(`pictures are in ${shots}`);
});

const picture = (page, name) => page.screenshot({ path: join(shots, `${name}.png`) });

/** Opens a view, and waits until it has what it shows. */
async function view(page, route) {
  // Else what was shown before would pass for it.
  await page.goto("about:blank");
  await page.goto(`${program.url}/${route}`);
  await page.locator("main h1").waitFor();
  await page.waitForLoadState("networkidle", { timeout: 5_000 }).catch(() => undefined);
}

describe("the page", { timeout: 300_000 }, () => {
  it("takes a newcomer from nothing to incidents on a chart", async () => {
    const { page, context, faults } = await open(browser, program.url);
    const sizes = [];
    page.on("response", (response) => ["/", "/app.js", "/app.css"].includes(new URL(response.url()).pathname) && sizes.push(response.body().then((body) => body.length)));
    await view(page, "");
    const bytes = (await Promise.all(sizes)).reduce((sum, size) => sum + size, 0);
    assert.ok(bytes > 10_000 && bytes < MOST_BYTES, `${bytes} bytes`);
    await picture(page, "nothing");

    await page.getByRole("link", { name: "Make one in the playground" }).click();
    const query = page.getByRole("combobox", { name: "Query" });
    await query.waitFor();
    assert.equal(await query.inputValue(), "http_requests_per_second");
    await query.fill("");
    await query.pressSequentially("http_requests_per");
    await page.getByRole("option", { name: "http_requests_per_second" }).waitFor();
    await query.press("ArrowDown");
    await query.press("Enter");
    assert.equal(await query.inputValue(), "http_requests_per_second");

    await query.press("Enter");
    await page.getByText("Nothing is written.").waitFor();
    await picture(page, "preview");
    const seen = await page.getByRole("group", { name: /^Chart: / }).getAttribute("aria-label");
    assert.match(seen, /^Chart: \d{3,} points/);

    await page.getByRole("textbox", { name: "Name" }).fill("requests");
    await page.getByRole("button", { name: "Save as pipeline" }).click();
    const history = page.getByRole("button", { name: "Score the history too" });
    await history.waitFor();
    await history.press("Enter");
    await page.locator("progress").first().waitFor();
    await picture(page, "history");
    await page.waitForURL(/#\/pipelines\/requests/, { timeout: 240_000 });

    await page.locator("section table tbody tr").first().waitFor();
    const chart = await page.getByRole("group", { name: /^Chart: / }).getAttribute("aria-label");
    assert.match(chart, /, [1-9]\d* of them anomalous/);
    await page.waitForTimeout(300);
    await picture(page, "chart");
    assert.deepEqual(faults, []);
    await context.close();
  });

  it("leads from an incident to the chart, and notes what people say of it", async () => {
    const { page, context, faults } = await open(browser, program.url);
    await view(page, "#/incidents");
    await page.locator("tbody tr").first().waitFor();
    await picture(page, "incidents");
    const verdict = page.locator("tbody tr").first().getByRole("button", { name: "Real" });
    await verdict.click();
    await page.locator('tbody tr:first-child button[aria-pressed="true"]').waitFor();
    await page.reload();
    await page.locator('tbody tr:first-child button[aria-pressed="true"]').waitFor();
    await page.locator("tbody tr").first().getByRole("link").click();
    await page.waitForURL(/#\/pipelines\/requests\?series=.*from=\d+&until=\d+/);
    await page.locator("section table tbody tr").first().waitFor();
    const before = page.url();
    const plot = await page.locator(".u-over").first().boundingBox();
    await page.mouse.move(plot.x + plot.width * 0.3, plot.y + 60);
    await page.mouse.down();
    await page.mouse.move(plot.x + plot.width * 0.6, plot.y + 60, { steps: 5 });
    await page.mouse.up();
    await page.waitForURL((url) => url.href !== before);
    await page.getByRole("button", { name: "7 d" }).click();
    await page.waitForURL(/span=/);
    assert.deepEqual(faults, []);
    await context.close();
  });

  it("shows what is wrong in a document where it is wrong", async () => {
    const { page, context, faults } = await open(browser, program.url);
    await view(page, "#/pipelines/requests/edit");
    const text = page.getByRole("textbox", { name: "The document of the pipeline" });
    const right = await text.inputValue();
    await text.fill(right.replace("step: 5m", "step: 5 parsecs").replace("context_window", "context_windw"));
    await page.getByText("parsecs").first().waitFor();
    await page.locator(".gutter .wrong").nth(1).waitFor();
    await picture(page, "faults");
    await text.fill(`${right.trimEnd()}\ndescription: Requests a second\n`);
    await page.getByText("This is right.").waitFor();
    await page.getByRole("button", { name: "Save" }).click();
    await page.waitForURL(/#\/pipelines\/requests$/);
    await page.getByText("Requests a second").waitFor();
    assert.deepEqual(faults, []);
    await context.close();
  });

  it("says in the playground which field is wrong", async () => {
    const { page, context } = await open(browser, program.url);
    await view(page, "#/playground");
    await page.getByLabel("Step").fill("soon");
    await page.getByRole("button", { name: "Preview" }).click();
    await page.locator('input[name="step"][aria-invalid="true"]').waitFor();
    assert.notEqual(await page.locator('[id="wrong-step"]').textContent(), "");
    await picture(page, "wrong");
    await context.close();
  });

  it("turns pipelines off and on, and deletes them only when asked twice", async () => {
    const { page, context, faults } = await open(browser, program.url);
    const body = JSON.stringify({ name: "spare", query: "queue_depth", step: "5m", context_window: "1d" });
    const made = await fetch(`${program.url}/api/v1/pipelines`, { method: "POST", headers: { "content-type": "application/json" }, body });
    assert.equal(made.status, 201);
    await view(page, "#/pipelines");
    await page.getByRole("button", { name: "Disable spare" }).click();
    await page.getByRole("button", { name: "Enable spare" }).click();
    await page.getByRole("button", { name: "Disable spare" }).waitFor();
    await picture(page, "pipelines");
    await page.getByRole("button", { name: "Delete spare" }).click();
    await page.getByRole("button", { name: "Cancel" }).click();
    await page.getByRole("button", { name: "Delete spare" }).click();
    await page.getByRole("dialog").getByRole("button", { name: "Delete" }).click();
    await page.getByRole("link", { name: "spare", exact: true }).waitFor({ state: "detached" });
    assert.deepEqual(faults, []);
    await context.close();
  });

  it("is used by keys alone", async () => {
    const { page, context, faults } = await open(browser, program.url);
    await view(page, "#/pipelines");
    await page.keyboard.press("?");
    await page.getByRole("dialog", { name: "Keyboard shortcuts" }).waitFor();
    await picture(page, "keys");
    await page.keyboard.press("Escape");
    for (const [key, title] of [["n", "Playground"], ["i", "Incidents"], ["j", "Jobs"], ["p", "Pipelines"]]) {
      await page.keyboard.press(key);
      await page.getByRole("heading", { level: 1, name: title }).waitFor();
    }
    await page.keyboard.press("/");
    assert.equal(await page.evaluate(() => document.activeElement.type), "search");
    await page.keyboard.type("requ");
    await page.keyboard.press("Escape");
    await view(page, "#/pipelines/requests");
    await page.locator('[role="option"][aria-selected="true"]').waitFor();
    const chosen = () => page.locator('[role="option"][aria-selected="true"]').textContent();
    const first = await chosen();
    await page.keyboard.press("]");
    assert.notEqual(await chosen(), first);
    await page.keyboard.press("Tab");
    const outline = await page.evaluate(() => getComputedStyle(document.activeElement).outlineStyle);
    assert.notEqual(outline, "none");
    assert.deepEqual(faults, []);
    await context.close();
  });

  it("is dark where people want it dark", async () => {
    const { page, context, faults } = await open(browser, program.url, { colorScheme: "dark" });
    await view(page, "#/pipelines/requests");
    const back = () => page.evaluate(() => getComputedStyle(document.body).backgroundColor);
    const dark = await back();
    await page.waitForTimeout(300);
    await picture(page, "dark");
    await page.keyboard.press("t");
    assert.notEqual(await back(), dark);
    await page.reload();
    assert.notEqual(await back(), dark, "the choice is kept");
    assert.deepEqual(faults, []);
    await context.close();
  });

  it("fits a phone, every control has a name, and nothing jumps", async () => {
    for (const [device, options] of [["phone", PHONE], ["desk", {}]]) {
      const { page, context, faults } = await open(browser, program.url, options);
      await page.addInitScript(() => {
        window.shifts = 0;
        new PerformanceObserver((list) => list.getEntries().forEach((entry) => !entry.hadRecentInput && (window.shifts += entry.value))).observe({ type: "layout-shift", buffered: true });
      });
      for (const route of VIEWS) {
        await view(page, route);
        await page.waitForTimeout(200);
        const found = await page.evaluate(() => ({
          wide: document.scrollingElement.scrollWidth - window.innerWidth,
          nameless: [...document.querySelectorAll("button, a, input, select, textarea")].filter((one) => !(one.textContent.trim() || one.getAttribute("aria-label") || one.labels?.[0]?.textContent.trim())).map((one) => one.outerHTML),
          shifts: window.shifts,
        }));
        assert.ok(found.wide <= 0, `${route} is ${found.wide} pixels too wide for a ${device}`);
        assert.deepEqual(found.nameless, [], route);
        assert.ok(found.shifts < 0.1, `${route} jumps by ${found.shifts} on a ${device}`);
        if (device === "phone") await picture(page, `phone-${route.slice(2).replaceAll("/", "-")}`);
      }
      assert.deepEqual(faults, []);
      await context.close();
    }
  });
});

describe("the page of a service that asks for credentials", { timeout: 300_000 }, () => {
  const KEY = "a-key-of-this-test-alone";
  const CONFIG = "datasources: {default: {path: series}}\nauth: {required: true, admin_key_file: admin-key}\n";
  let guarded;

  before(async () => {
    guarded = await start({ "openanomaly.yaml": CONFIG, "admin-key": KEY });
  });

  after(() => guarded?.stop());

  it("asks for them, says what is wrong with them, and shows what they open", async () => {
    const { page, context } = await open(browser, guarded.url);
    await page.goto(guarded.url);
    const login = page.getByRole("dialog", { name: "Log in" });
    await login.getByLabel("API key").fill("wrong");
    await login.getByLabel("API key").press("Enter");
    await login.getByText("This key is not accepted.").waitFor();
    await picture(page, "login");
    await login.getByLabel("API key").fill(KEY);
    await login.getByLabel("API key").press("Enter");
    await page.getByRole("link", { name: "Make one in the playground" }).waitFor();
    await page.getByRole("button", { name: "Log out" }).click();
    await login.waitFor();
    await context.close();
  });

  it("lets people in by name and password, and says what they may not do", async () => {
    const user = JSON.stringify({ name: "ada", password: "correct horse battery", role: "viewer" });
    const headers = { authorization: `Bearer ${KEY}`, "content-type": "application/json" };
    const made = await fetch(`${guarded.url}/api/v1/users`, { method: "POST", headers, body: user });
    assert.equal(made.status, 201, await made.text());
    const { page, context } = await open(browser, guarded.url);
    await page.goto(`${guarded.url}/#/playground`);
    const login = page.getByRole("dialog", { name: "Log in" });
    await login.getByLabel("Name").fill("ada");
    await login.getByLabel("Password").fill("correct horse battery");
    await login.getByLabel("Password").press("Enter");
    await page.getByRole("button", { name: "Save as pipeline" }).click();
    await page.getByText("this needs the role editor").waitFor();
    await page.reload();
    await page.getByRole("combobox", { name: "Query" }).waitFor();
    assert.equal(await login.count(), 0, "the cookie is kept");
    await page.getByRole("button", { name: "Log out" }).click();
    await login.waitFor();
    await context.close();
  });
});
