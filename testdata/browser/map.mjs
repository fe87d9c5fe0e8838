// Checks the live map in a real browser.
//
//   node map.mjs URL [--fault URL2] [--clear URL3] [--cut URL4] [--shots DIR] [--edges a>b,c>d]
//
// URL is the map. POST to URL2 must make one edge fail, POST to URL3 must mend it,
// POST to URL4 cut the network for two seconds; without them that part is left out. --edges names edges that must be there; any
// three are enough otherwise. Exit code 0: all checks hold.

import { mkdtempSync, mkdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { chromium } from "playwright-core";

const { values: options, positionals } = parseArgs({
  allowPositionals: true,
  options: { fault: { type: "string" }, clear: { type: "string" }, cut: { type: "string" }, shots: { type: "string" }, edges: { type: "string" }, chromium: { type: "string", default: "/usr/bin/chromium" } },
});
const url = positionals[0];
if (!url) {
  console.error("usage: node map.mjs URL [--fault URL2] [--clear URL3] [--cut URL4] [--shots DIR] [--edges a>b,c>d]");
  process.exit(2);
}
if (options.shots) mkdirSync(options.shots, { recursive: true });

const RED_MILLIS = 2000;
let failures = 0;
const complaints = [];

function check(ok, what) {
  console.log((ok ? "ok    " : "FAIL  ") + what);
  if (!ok) failures++;
}

async function until(what, millis, probe) {
  const start = performance.now();
  let last;
  while (performance.now() - start < millis) {
    last = await probe();
    if (last) {
      check(true, `${what} (${Math.round(performance.now() - start)} ms)`);
      return last;
    }
    await new Promise((r) => setTimeout(r, 50));
  }
  check(false, `${what} within ${millis} ms`);
  return last;
}

const profile = mkdtempSync(join(tmpdir(), "fire-map-"));
const context = await chromium.launchPersistentContext(profile, {
  executablePath: options.chromium,
  headless: true,
  viewport: { width: 1440, height: 900 },
  colorScheme: "light",
  args: ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"],
});
try {
  const page = context.pages()[0] || (await context.newPage());
  page.on("console", (m) => {
    if (m.type() === "error" || m.type() === "warning") complaints.push(`${m.type()}: ${m.text()}`);
  });
  page.on("pageerror", (e) => complaints.push("exception: " + e.message));
  page.on("requestfailed", (r) => {
    // A request that the page itself gave up, as when it is reloaded, did not fail.
    const why = r.failure()?.errorText ?? "";
    if (why !== "net::ERR_ABORTED" && !r.url().endsWith("/api/v1/events")) complaints.push(`request failed: ${r.url()} ${why}`);
  });
  await run(page);
} finally {
  await context.close();
  rmSync(profile, { recursive: true, force: true });
}
check(complaints.length === 0, "no console errors" + (complaints.length ? ": " + complaints.slice(0, 5).join(" | ") : ""));
console.log(failures ? `${failures} checks failed` : "all checks hold");
process.exit(failures ? 1 : 0);

async function run(page) {
  await page.goto(url);
  await edgesAppear(page);
  await geometry(page);
  await deltasArrive(page);
  await shot(page, "1-light");
  await darkMode(page);
  await selection(page);
  await keyboard(page);
  await search(page);
  await table(page);
  await eventsView(page);
  await sizes(page);
  if (options.fault) await fault(page);
  if (options.cut) await reconnect(page);
}

async function shot(page, name) {
  if (options.shots) await page.screenshot({ path: join(options.shots, name + ".png") });
}

function edges(page) {
  return page.$$eval("[data-edge]", (list) => list.map((g) => ({
  id: g.dataset.edge, rate: Number(g.dataset.rate), errors: Number(g.dataset.errors), p99: Number(g.dataset.p99Ns), state: g.dataset.state,
  })));
}

async function edgesAppear(page) {
  await until("the stream is live", 5000, () => page.$("[data-live=live]"));
  const wanted = options.edges ? options.edges.split(",") : null;
  await until("edges have rates and latencies above zero", 8000, async () => {
    const busy = (await edges(page)).filter((e) => e.rate > 0 && e.p99 > 0).map((e) => e.id);
    return wanted ? wanted.every((w) => busy.includes(w)) : busy.length >= 3;
  });
  await page.waitForTimeout(2500); // five-second rates fill
  const all = await edges(page);
  check(new Set(all.map((e) => e.id)).size === all.length, `every edge is drawn once (${all.length})`);
  check(all.every((e) => Number.isFinite(e.rate) && e.rate >= 0), "no rate is negative or not a number");
}

// geometry: nothing lies on anything else, and text stays inside its box.
async function geometry(page) {
  const problems = await page.evaluate(() => {
    const out = [];
    const box = (e) => e.getBoundingClientRect();
    const over = (a, b) => a.left < b.right - 1 && b.left < a.right - 1 && a.top < b.bottom - 1 && b.top < a.bottom - 1;
    const frames = [...document.querySelectorAll("#map .frame")];
    const cards = [...document.querySelectorAll("#map .card")];
    const pills = [...document.querySelectorAll("#map .pill")];
    const pairs = (list, name) => list.forEach((a, i) => list.slice(i + 1).forEach((b) => over(box(a), box(b)) && out.push(name + " overlap")));
    pairs(frames, "hosts");
    pairs(cards, "services");
    pairs(pills, "labels");
    pills.forEach((p) => frames.forEach((f) => over(box(p), box(f)) && out.push("a label lies on a host")));
    for (const group of document.querySelectorAll("#map .service, #map .label, #map .host")) {
      const outer = box(group.querySelector("rect"));
      for (const t of group.querySelectorAll("text")) {
        const inner = box(t);
        if (t.textContent && (inner.left < outer.left - 1 || inner.right > outer.right + 1)) out.push("text leaves its box: " + t.textContent);
      }
    }
    for (const label of document.querySelectorAll("#map .label")) {
      const texts = [...label.querySelectorAll("text")].filter((t) => t.textContent);
      texts.forEach((a, i) => texts.slice(i + 1).forEach((b) => over(box(a), box(b)) && out.push(`texts touch: ${a.textContent} | ${b.textContent}`)));
    }
    return out;
  });
  check(problems.length === 0, "nothing overlaps and text fits" + (problems.length ? ": " + problems.slice(0, 4).join("; ") : ""));
}

async function deltasArrive(page) {
  const changes = await page.evaluate(() => new Promise((done) => {
    let n = 0;
    const watch = new MutationObserver(() => n++);
    watch.observe(document.querySelector("[data-edge]").parentNode, { subtree: true, attributes: true, attributeFilter: ["data-rate", "data-p99-ns"] });
    setTimeout(() => {
      watch.disconnect();
      done(n);
    }, 3000);
  }));
  check(changes >= 3, `figures move at least once a second (${changes} changes in 3 s)`);
}

function ground(page) {
  return page.evaluate(() => getComputedStyle(document.body).backgroundColor);
}

async function darkMode(page) {
  const light = await ground(page);
  await page.emulateMedia({ colorScheme: "dark" });
  const system = await ground(page);
  check(light !== system, "the system's dark mode is followed");
  await page.keyboard.press("d");
  check((await ground(page)) === light, "the d key overrides it");
  await page.reload();
  await page.waitForSelector("[data-edge]");
  check((await ground(page)) === light, "the choice is remembered");
  await page.keyboard.press("d");
  await page.waitForTimeout(1200);
  await shot(page, "2-dark");
}

async function selection(page) {
  const busiest = (await edges(page)).sort((a, b) => b.rate - a.rate)[0].id;
  await page.focus(`[data-edge="${busiest}"]`);
  await page.keyboard.press("Enter");
  await until("an edge's panel shows both sides and history", 4000, () => page.$("#panel .sides td:not(:empty) , #panel .spark polyline"));
  await until("the panel has a sparkline", 4000, () => page.$("#panel .spark polyline"));
  const [src, dst] = busiest.split(">");
  check((await page.textContent("#panel h2")).includes(src) && (await page.textContent("#panel h2")).includes(dst), "the panel is the edge's");
  await page.waitForTimeout(1500);
  await shot(page, "3-edge");
  await page.keyboard.press("Escape");
  check(await page.isHidden("#panel"), "Escape closes the panel");
  await page.click("[data-service]");
  await page.waitForTimeout(300);
  check(await page.isVisible("#panel"), "a click on a service opens its panel");
  await shot(page, "4-service");
  await page.keyboard.press("Escape");
  await page.click("[data-host] .title");
  await page.waitForTimeout(1300);
  check((await page.textContent("#panel header small")) === "Host", "a click on a host opens its panel");
  await shot(page, "5-host");
  await page.keyboard.press("Escape");
}

async function keyboard(page) {
  await page.keyboard.press("?");
  check(await page.isVisible("#help"), "? opens the help");
  await shot(page, "6-help");
  await page.keyboard.press("Escape");
  check(await page.isHidden("#help"), "Escape closes the help");
  const before = await page.getAttribute("#map .world", "transform");
  await page.keyboard.press("+");
  check((await page.getAttribute("#map .world", "transform")) !== before, "+ zooms");
  await page.keyboard.press("f");
  check((await page.getAttribute("#map .world", "transform")) === before, "f fits the floor again");
  await page.focus("#map");
  await page.keyboard.press("Tab");
  check(await page.evaluate(() => Boolean(document.activeElement.dataset.focus)), "Tab reaches what is on the map");
  await page.evaluate(() => document.activeElement.blur());
}

async function search(page) {
  await page.mouse.move(2, 60); // hovering dims, too
  const name = (await edges(page))[0].id.split(">")[0];
  await page.keyboard.press("/");
  await page.keyboard.type(name);
  await page.waitForTimeout(300);
  const dimmed = await page.$$eval("[data-edge].dim", (l) => l.map((g) => g.dataset.edge));
  const clear = await page.$$eval("[data-edge]:not(.dim)", (l) => l.map((g) => g.dataset.edge));
  check(dimmed.length > 0 && clear.length > 0 && clear.every((e) => e.includes(name)), `the filter "${name}" dims the rest`);
  await shot(page, "7-filter");
  await page.keyboard.press("Escape");
  check((await page.$$("[data-edge].dim")).length === 0, "Escape clears the filter");
}

async function table(page) {
  await page.keyboard.press("t");
  check(await page.isVisible("[data-table=edge]"), "t shows the table");
  const rows = await page.$$eval("[data-table=edge] tbody tr", (l) => l.length);
  check(rows === (await edges(page)).length, `the table has a row for each edge (${rows})`);
  await page.click("[data-table=edge] thead button >> text=p99 >> nth=0");
  check((await page.$$("[data-table=edge] th[aria-sort=descending]")).length === 1, "a head sorts and says so");
  const sizes = await page.$$eval("[data-table=edge] tbody tr", (l) => l.map((r) => Number(document.querySelector(`[data-edge="${r.dataset.row}"]`).dataset.p99Ns)));
  check(sizes.every((v, i) => i === 0 || v <= sizes[i - 1] * 1.25), "rows are in that order");
  await shot(page, "8-table");
}

async function eventsView(page) {
  await page.keyboard.press("e");
  check((await page.$$(".events li")).length > 0, "e shows events");
  await shot(page, "9-events");
  await page.keyboard.press("m");
  check(await page.isVisible("#map"), "m shows the map");
}

async function sizes(page) {
  for (const [width, height] of [[1280, 720], [2560, 1200]]) {
    await page.setViewportSize({ width, height });
    await page.waitForTimeout(300);
    const bad = await page.evaluate(() => {
      const stage = document.querySelector("#map").getBoundingClientRect();
      const world = document.querySelector("#map .world").getBoundingClientRect();
      const bar = document.querySelector(".bar");
      return { out: world.right > stage.right + 2 || world.bottom > stage.bottom + 2, bar: bar.scrollWidth > bar.clientWidth };
    });
    check(!bad.out && !bad.bar, `everything is in sight at ${width}x${height}`);
    await shot(page, `10-${width}`);
  }
  await page.setViewportSize({ width: 1440, height: 900 });
}

async function post(where) {
  let answer = await fetch(where, { method: "POST" });
  if (answer.status === 405) answer = await fetch(where);
  if (!answer.ok) throw new Error(`${where}: ${answer.status} ${await answer.text()}`);
}

async function fault(page) {
  const red = () => page.$eval("[data-edge][data-state=error]", (g) => g.dataset.edge).catch(() => null);
  await until("no edge is red before the fault", 15000, async () => !(await red()));
  await post(options.fault);
  const edge = await until("an injected error turns an edge red within 2 s", RED_MILLIS, red);
  if (!edge) return;
  check(Number(await page.getAttribute(`[data-edge="${edge}"]`, "data-errors")) > 0, `${edge} shows its errors`);
  check((await page.textContent("#problems")).includes("red"), "the bar says so in words");
  await page.keyboard.press("n");
  await page.waitForTimeout(1500);
  check((await page.textContent("#panel h2")).length > 0 && (await page.$$("#panel .why li")).length > 0, "n opens the problem with its reason");
  await shot(page, "11-red");
  await page.keyboard.press("d");
  await page.keyboard.press("Escape");
  await page.waitForTimeout(300);
  await shot(page, "12-red-light");
  await page.keyboard.press("d");
  if (options.clear) {
    await post(options.clear);
    await until("it turns green again", 12000, async () => (await page.getAttribute(`[data-edge="${edge}"]`, "data-state")) === "ok");
  }
}

// reconnect cuts the network and lets it come back.
async function reconnect(page) {
  const before = complaints.length;
  await page.evaluate(() => {
    window.rebuilt = false;
    new MutationObserver(() => (window.rebuilt = true)).observe(document.querySelector("#map .world"), { childList: true });
  });
  await post(options.cut);
  await until("a cut stream is shown with its age", 5000, async () => {
    const live = await page.$eval("[data-live]", (e) => [e.dataset.live, e.textContent]);
    return live[0] !== "live" && /\d/.test(live[1]);
  });
  await page.waitForTimeout(400);
  await shot(page, "13-cut");
  await until("the stream comes back by itself", 15000, () => page.$("[data-live=live]"));
  const then = await edges(page);
  await until("and figures move on", 4000, async () => (await edges(page)).some((e, i) => e.rate !== then[i]?.rate));
  check(!(await page.evaluate(() => window.rebuilt)), "it resumed: the map was not built anew");
  complaints.length = before; // the browser reports the cut itself
}
