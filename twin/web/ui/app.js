// Wiring: one store, three views, one selection, one filter.

import { $, el, listen, set, text } from "./dom.js";
import { Events } from "./events.js";
import { parseFilter } from "./filter.js";
import { age, rate, STATES } from "./format.js";
import { FloorMap } from "./map.js";
import { Panel } from "./panel.js";
import { Store } from "./store.js";
import { Tables } from "./table.js";

const store = new Store();
const state = { view: "map", selected: null, hovered: null, filter: parseFilter("") };

const map = new FloorMap($("map"), store, select);
const panel = new Panel($("panel"), store, select);
const tables = new Tables($("view-table"), store, select);
const events = new Events($("view-events"), $("ticker"), store, select);

function select(target) {
  state.selected = target;
  panel.show(target);
  draw();
}

function show(view) {
  state.view = view;
  for (const name of ["map", "table", "events"]) {
    $("view-" + name).hidden = name !== view;
    set(document.querySelector(`[data-view="${name}"]`), "aria-pressed", name === view);
  }
  draw();
}

// draw brings what is visible up to date; the map stays current behind the others,
// since it is cheap and its elements carry the figures for tests.
function draw() {
  map.update();
  map.mark(state.filter, state.selected, state.hovered);
  if (state.view === "table") tables.update(state.filter, state.selected);
  events.update($("search").value);
  panel.update();
  summary();
}

function summary() {
  const edges = [...store.edges.values()];
  text($("sum-rate"), rate(edges.reduce((n, e) => n + e.rate_per_second, 0)));
  const errors = edges.reduce((n, e) => n + e.errors_per_second, 0);
  text($("sum-errors"), rate(errors));
  set($("sum-errors"), "data-bad", errors > 0);
  text($("sum-hosts"), String(store.nodes.size));
  text($("sum-services"), String(store.services.size));
  text($("sum-edges"), String(edges.length));
  const all = [...edges, ...store.services.values(), ...store.nodes.values()];
  const [bad, odd] = ["error", "warn"].map((s) => all.filter((x) => x.state === s).length);
  const button = $("problems");
  button.hidden = bad + odd === 0;
  set(button, "data-state", bad ? "error" : "warn");
  text(button, bad ? `${STATES.error.sign} ${bad} red${odd ? `, ${odd} yellow` : ""}` : `${STATES.warn.sign} ${odd} yellow`);
  $("empty").hidden = store.version === 0 || store.nodes.size + store.services.size > 0;
  const refused = store.intake ? store.intake.refused_total + store.intake.dropped_total + store.intake.over_edges_total : 0;
  text($("footnote"), (store.floorVersion ? "floor v" + store.floorVersion : "") + (refused ? ` · ${refused} report parts refused: ${store.intake.latest_refusal || ""}` : ""));
}

function live() {
  const { state: now, age: old } = store.live();
  set($("live"), "data-live", now);
  text($("live").lastElementChild, now === "live" || now === "connecting" ? now : `${now} · ${age(old)} old`);
  document.body.classList.toggle("old", now === "stale" || now === "reconnecting");
}

// problems walks through what is red, then yellow.
function nextProblem(step) {
  const list = [];
  for (const wanted of ["error", "warn"]) {
    for (const [id, e] of [...store.edges].sort()) if (e.state === wanted) list.push({ kind: "edge", id });
    for (const [id, s] of [...store.services].sort()) if (s.state === wanted) list.push({ kind: "service", id });
    for (const [id, n] of [...store.nodes].sort()) if (n.state === wanted) list.push({ kind: "node", id });
  }
  if (!list.length) return;
  const at = list.findIndex((t) => t.kind === state.selected?.kind && t.id === state.selected?.id);
  select(list[(at + step + list.length) % list.length]);
}

function toggleTheme() {
  const root = document.documentElement;
  const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  root.dataset.theme = dark ? "light" : "dark";
  try {
    localStorage.setItem("fire-theme", root.dataset.theme);
  } catch {
    // Storage is off: the choice lasts until the page is closed.
  }
}

const KEYS = [
  [["m"], "Map", () => show("map")],
  [["t"], "Table", () => show("table")],
  [["e"], "Events", () => show("events")],
  [["/"], "Filter", () => $("search").focus()],
  [["n"], "Next problem", () => nextProblem(1)],
  [["p"], "Previous problem", () => nextProblem(-1)],
  [["f", "0"], "Fit the whole floor", () => map.view.fit()],
  [["+", "="], "Zoom in", () => map.view.by(1.25)],
  [["-"], "Zoom out", () => map.view.by(0.8)],
  [["ArrowLeft"], "Pan left", () => map.view.pan(60, 0)],
  [["ArrowRight"], "Pan right", () => map.view.pan(-60, 0)],
  [["ArrowUp"], "Pan up", () => map.view.pan(0, 60)],
  [["ArrowDown"], "Pan down", () => map.view.pan(0, -60)],
  [["d"], "Dark or light", toggleTheme],
  [["?"], "This help", () => help()],
  [["Escape"], "Close, clear the filter", escape],
];

const SIGNS = { ArrowLeft: "←", ArrowRight: "→", ArrowUp: "↑", ArrowDown: "↓", Escape: "Esc" };

function help() {
  if ($("help").open) $("help").close();
  else $("help").showModal();
}

function escape() {
  if (state.selected) select(null);
  else if ($("search").value) {
    $("search").value = "";
    filter();
  }
}

function filter() {
  state.filter = parseFilter($("search").value);
  draw();
}

function keys(e) {
  if (e.ctrlKey || e.metaKey || e.altKey) return;
  const typing = e.target instanceof HTMLInputElement;
  if (typing) {
    if (e.key === "Escape") {
      e.target.value = "";
      e.target.blur();
      filter();
    }
    return;
  }
  if ($("help").open && e.key !== "?") return;
  const arrows = e.key.startsWith("Arrow");
  if (arrows && state.view !== "map") return;
  const found = KEYS.find(([names]) => names.includes(e.key));
  if (found) {
    e.preventDefault();
    found[2]();
  }
}

function furnish() {
  $("legend").append(...[["ok", "ok"], ["warn", "warning"], ["error", "red: errors"], ["idle", "idle"]].map(([s, word]) =>
    el("li", { "data-state": s }, el("span", { class: "swatch", "aria-hidden": "true" }), el("span", { class: "badge", "data-state": s, "aria-hidden": "true" }, STATES[s].sign), word)));
  $("help").append(el("h2", { id: "help-title" }, "Keys"),
    el("dl", {}, ...KEYS.flatMap(([names, what]) => [el("dt", {}, ...names.map((k) => el("kbd", {}, SIGNS[k] || k))), el("dd", {}, what)])),
    el("p", { class: "muted" }, "Tab walks through hosts, services and edges; Enter opens one. The filter takes words and state:, host:, service:, protocol:; a leading - negates."),
    el("form", { method: "dialog" }, el("button", {}, "Close")));
  for (const button of document.querySelectorAll("[data-view]")) listen(button, "click", () => show(button.dataset.view));
  listen($("theme"), "click", toggleTheme);
  listen($("help-open"), "click", help);
  listen($("ticker"), "click", () => show("events"));
  listen($("problems"), "click", () => nextProblem(1));
  listen($("zoom-in"), "click", () => map.view.by(1.25));
  listen($("zoom-out"), "click", () => map.view.by(0.8));
  listen($("zoom-fit"), "click", () => map.view.fit());
  listen($("search"), "input", filter);
  listen(document, "keydown", keys);
  map.onHover = (target) => {
    state.hovered = target;
    map.mark(state.filter, state.selected, state.hovered);
  };
}

listen(store, "change", ({ detail }) => {
  if (detail.moved || detail.whole) map.rebuild(store.layout);
  draw();
  const red = detail.whole ? [] : detail.events.filter((e) => e.severity === "error");
  if (red.length) text($("announce"), red.map((e) => e.text).join(". "));
});
listen(store, "live", live);
furnish();
store.start();
