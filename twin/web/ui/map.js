// The map: SVG drawn at the coordinates the server sends. Nodes are made when the
// layout changes and only their figures are touched after that.

import { set, svg, text } from "./dom.js";
import { bytes, rate, span, spans, stateOf } from "./format.js";
import { edgeFacts, nodeFacts, serviceFacts } from "./filter.js";
import { View } from "./view.js";

const FLOWS_MAX = 60; // 146 moving dashes left 7 frames a second without a GPU

const BYTES_PER_REQUEST = 4096; // what a feed's bytes weigh beside requests

export class FloorMap {
  #root;
  #store;
  #onSelect;
  #edges = new Map();
  #boxes = new Map();
  #hosts = new Map();
  #still = matchMedia("(prefers-reduced-motion: reduce)");

  constructor(root, store, onSelect) {
    this.#root = root;
    this.#store = store;
    this.#onSelect = onSelect;
    this.world = svg("g", { class: "world" });
    root.append(markers(), this.world);
    this.view = new View(root, this.world);
    root.addEventListener("click", (e) => {
      if (e.target === root && !this.view.dragged) onSelect(null);
    });
    this.#still.addEventListener("change", () => this.update());
  }

  // rebuild follows a new layout. Elements of things that stay are made anew, so
  // keyboard focus is carried over by its id.
  rebuild(layout) {
    const focus = document.activeElement?.dataset?.focus;
    this.#edges.clear();
    this.#boxes.clear();
    this.#hosts.clear();
    const hosts = layout.hosts.map((h) => this.#host(h));
    const edges = layout.edges.map((e) => this.#edge(e));
    const boxes = layout.boxes.map((b) => this.#box(b));
    const labels = [...this.#edges.values()].map((e) => e.label).filter(Boolean).map((l) => l.group);
    this.world.replaceChildren(
      svg("g", {}, ...hosts), svg("g", {}, ...edges), svg("g", {}, ...boxes), svg("g", { class: "labels" }, ...labels));
    this.view.resize(layout.width, layout.height);
    if (focus) this.#root.querySelector(`[data-focus="${CSS.escape(focus)}"]`)?.focus();
  }

  update() {
    for (const [key, e] of this.#edges) {
      const edge = this.#store.edges.get(key);
      if (edge) this.#paint(e, edge);
    }
    for (const b of this.#boxes.values()) this.#paintBox(b);
    for (const [name, h] of this.#hosts) this.#paintHost(h, this.#store.nodes.get(name));
  }

  // mark shows a filter and a selection: what is outside of either is dimmed.
  mark(filter, selected, hovered) {
    const focus = hovered || selected;
    const near = focus ? this.#neighbours(focus) : null;
    for (const [key, e] of this.#edges) {
      const edge = this.#store.edges.get(key);
      const out = edge && !filter.empty && !filter.match(edgeFacts(edge));
      const dim = out || (near && !near.edges.has(key));
      for (const g of [e.group, e.label?.group]) {
        if (!g) continue;
        g.classList.toggle("dim", Boolean(dim));
        g.classList.toggle("chosen", selected?.kind === "edge" && selected.id === key);
      }
    }
    for (const b of this.#boxes.values()) {
      const service = this.#store.services.get(b.service);
      const out = service && !filter.empty && !filter.match(serviceFacts(service, b.node));
      b.group.classList.toggle("dim", Boolean(out || (near && !near.boxes.has(b.id))));
      b.group.classList.toggle("chosen", selected?.kind === "service" && selected.id === b.service);
    }
    for (const [name, h] of this.#hosts) {
      h.group.classList.toggle("chosen", selected?.kind === "node" && selected.id === name);
      const node = this.#store.nodes.get(name);
      const inside = [...this.#boxes.values()].some((b) => b.node === name && !b.group.classList.contains("dim"));
      h.group.classList.toggle("dim", Boolean(node && !filter.empty && !filter.match(nodeFacts(node)) && !inside));
    }
  }

  #neighbours(focus) {
    const edges = new Set();
    const boxes = new Set();
    for (const [key, e] of this.#edges) {
      const touches = focus.kind === "edge" ? focus.id === key
        : focus.kind === "service" ? e.src === focus.id || e.dst === focus.id
        : e.route.paths.some((p) => p.from.endsWith("@" + focus.id) || p.to.endsWith("@" + focus.id));
      if (!touches) continue;
      edges.add(key);
      for (const p of e.route.paths) boxes.add(p.from).add(p.to);
    }
    for (const b of this.#boxes.values()) {
      if ((focus.kind === "service" && b.service === focus.id) || (focus.kind === "node" && b.node === focus.id)) boxes.add(b.id);
    }
    return { edges, boxes };
  }

  #choosable(kind, id, attributes) {
    const choose = (e) => {
      e.stopPropagation();
      if (!this.view.dragged) this.#onSelect({ kind, id });
    };
    return {
      tabindex: 0, role: "button", "data-focus": kind + ":" + id, onclick: choose,
      onkeydown: (e) => {
        if (e.key === "Enter" || e.key === " ") {
          e.preventDefault();
          choose(e);
        }
      },
      onpointerenter: () => this.onHover?.({ kind, id }),
      onpointerleave: () => this.onHover?.(null),
      ...attributes,
    };
  }

  #edge(route) {
    const [src, dst] = route.key.split(">");
    const paths = route.paths.map((p) => ({
      from: p.from.slice(p.from.lastIndexOf("@") + 1), to: p.to.slice(p.to.lastIndexOf("@") + 1),
      halo: svg("path", { class: "halo", d: p.d }),
      line: svg("path", { class: "line", d: p.d }),
      flow: svg("path", { class: "flow", d: p.d }),
      hit: svg("path", { class: "hit", d: p.d }),
      animation: null,
    }));
    const group = svg("g", this.#choosable("edge", route.key, { class: "edge", "data-edge": route.key }),
      svg("title"), ...paths.flatMap((p) => [p.halo, p.line, p.flow, p.hit]));
    const label = route.label ? this.#label(route) : null;
    this.#edges.set(route.key, { route, src, dst, group, paths, label });
    return group;
  }

  #label(route) {
    const { x, y, w, h } = route.label;
    const lock = svg("path", { class: "lock", transform: `translate(${x + 9} ${y + 6})`, d: LOCK });
    const sign = svg("text", { class: "sign", x: x + 26, y: y + 16 });
    const volume = svg("text", { class: "volume", x: x + 41, y: y + 16 });
    const errors = svg("text", { class: "errors", x: x + w - 9, y: y + 16, "text-anchor": "end" });
    const names = svg("text", { class: "names", x: x + 9, y: y + 32 }, "p50/99/99.9");
    const times = svg("text", { class: "times", x: x + w - 9, y: y + 32, "text-anchor": "end" });
    const box = svg("rect", { class: "pill", x, y, width: w, height: h, rx: 9 });
    const group = svg("g", {
      class: "label", "aria-hidden": "true",
      onclick: (e) => {
        e.stopPropagation();
        if (!this.view.dragged) this.#onSelect({ kind: "edge", id: route.key });
      },
      onpointerenter: () => this.onHover?.({ kind: "edge", id: route.key }),
      onpointerleave: () => this.onHover?.(null),
    }, box, lock, sign, volume, errors, names, times);
    return { group, lock, sign, volume, errors, times, room: w - 18 - 66 };
  }

  #paint(e, edge) {
    const g = e.group;
    set(g, "data-rate", edge.rate_per_second);
    set(g, "data-errors", edge.errors_per_second);
    set(g, "data-p99-ns", edge.p99_ns);
    set(g, "data-state", edge.state);
    set(g, "data-secured", edge.secured);
    set(g, "data-stale", Boolean(edge.stale));
    const words = `${edge.src} to ${edge.dst}: ${stateOf(edge.state).word}, ${rate(edge.rate_per_second)} requests a second, ` +
      `${rate(edge.errors_per_second)} errors a second, p99 ${span(edge.p99_ns)}`;
    set(g, "aria-label", words);
    text(g.firstChild, words);
    const byHosts = new Map(edge.paths.map((p) => [p.from + ">" + p.to, p]));
    for (const p of e.paths) {
      const share = byHosts.get(p.from + ">" + p.to) || (e.paths.length === 1 ? edge : null);
      const amount = share ? share.rate_per_second : 0;
      const state = edge.state === "error" || edge.state === "warn" ? (share?.state === "ok" && e.paths.length > 1 ? "ok" : edge.state) : (amount > 0 || edge.active > 0 ? edge.state : "idle");
      const volume = Math.max(amount, (edge.bytes_per_second / BYTES_PER_REQUEST) * (amount / edge.rate_per_second || 1));
      const width = (1.4 + Math.min(4.2, Math.log10(1 + volume) * 1.05)).toFixed(1);
      set(p.line, "stroke-width", width);
      set(p.line, "data-state", state);
      set(p.line, "marker-end", `url(#arrow-${state})`);
      set(p.flow, "data-state", state);
      this.#flow(p, edge.stale ? 0 : volume);
    }
    if (e.label) this.#paintLabel(e.label, edge);
  }

  #paintLabel(l, edge) {
    set(l.group, "data-state", edge.state);
    set(l.group, "data-stale", Boolean(edge.stale));
    set(l.lock, "d", edge.secured ? LOCK : UNLOCK);
    set(l.lock, "data-secured", edge.secured);
    text(l.sign, stateOf(edge.state).sign);
    const streams = edge.rate_per_second < 2 && edge.bytes_per_second > 500;
    text(l.volume, edge.rate_per_second > 0 && !streams ? rate(edge.rate_per_second) + "/s"
      : edge.bytes_per_second > 0 ? bytes(edge.bytes_per_second) + "/s" : edge.active > 0 ? edge.active + " open" : "idle");
    text(l.errors, edge.stale ? "stale" : rate(edge.errors_per_second) + " err/s");
    if (text(l.times, spans([edge.p50_ns, edge.p99_ns, edge.p999_ns]))) {
      l.times.removeAttribute("textLength");
      if (l.times.getComputedTextLength() > l.room) {
        set(l.times, "textLength", l.room);
        set(l.times, "lengthAdjust", "spacingAndGlyphs");
      }
    }
  }

  // flow moves dashes with the traffic; faster is more. playbackRate changes speed
  // without a jump.
  #flow(p, volume) {
    const run = volume > 0 && !this.#still.matches && this.#edges.size <= FLOWS_MAX;
    p.flow.classList.toggle("running", run);
    if (!run) {
      p.animation?.cancel();
      p.animation = null;
      return;
    }
    p.animation ??= p.flow.animate([{ strokeDashoffset: 0 }, { strokeDashoffset: -32 }], { duration: 1000, iterations: Infinity });
    const speed = Math.round((0.35 + Math.min(2.4, Math.log10(1 + volume) * 0.6)) * 10) / 10;
    if (p.animation.playbackRate !== speed) p.animation.updatePlaybackRate(speed);
  }

  #box(b) {
    const sign = svg("text", { class: "sign", x: b.x + 20, y: b.y + b.h / 2 + 5, "text-anchor": "middle" });
    const sub = svg("text", { class: "sub", x: b.x + 36, y: b.y + b.h / 2 + 13 });
    const group = svg("g", this.#choosable("service", b.service, { class: "service", "data-service": b.id }),
      svg("rect", { class: "card", x: b.x, y: b.y, width: b.w, height: b.h, rx: 10 }), sign,
      svg("text", { class: "name", x: b.x + 36, y: b.y + b.h / 2 - 3 }, b.text), sub);
    group.append(svg("title", {}, b.service + " on " + (b.node || "no host")));
    this.#boxes.set(b.id, { id: b.id, service: b.service, node: b.node, group, sign, sub, room: b.w - 46 });
    return group;
  }

  #paintBox(b) {
    const service = this.#store.services.get(b.service);
    if (!service) return;
    const endpoint = service.endpoints.find((e) => e.node === b.node);
    const state = endpoint ? endpoint.state : service.state;
    set(b.group, "data-state", state);
    text(b.sign, stateOf(state).sign);
    let line = service.protocol || (endpoint?.observed ? "client" : "");
    if (endpoint?.observed && service.protocol) line += " · client";
    if (endpoint?.draining) line = "draining";
    if (endpoint && !endpoint.healthy && !endpoint.observed) line = endpoint.linked ? "unhealthy" : "not linked";
    text(b.sub, line || "declared");
    set(b.group, "aria-label", `service ${b.service} on ${b.node || "no host"}: ${stateOf(state).word}${endpoint?.why ? ", " + endpoint.why : ""}`);
  }

  #host(h) {
    const sign = svg("text", { class: "sign", x: h.x + 20, y: h.y + 28, "text-anchor": "middle" });
    const place = svg("text", { class: "place", x: h.x + h.w - 16, y: h.y + 28, "text-anchor": "end" });
    const children = [svg("rect", { class: "frame", x: h.x, y: h.y, width: h.w, height: h.h, rx: 16 }), sign,
      svg("text", { class: "title", x: h.x + 33, y: h.y + 28 }, h.text), place];
    if (h.h < 60) children.push(svg("text", { class: "place", x: h.x + 33, y: h.y + 46 }, "no services"));
    const attributes = h.name ? this.#choosable("node", h.name, { class: "host", "data-host": h.name }) : { class: "host nowhere" };
    const group = svg("g", attributes, ...children);
    this.#hosts.set(h.name, { group, sign, place, room: h.w - 56 - h.text.length * 7.7 });
    return group;
  }

  #paintHost(h, node) {
    if (!node) return;
    set(h.group, "data-state", node.state);
    text(h.sign, stateOf(node.state).sign);
    const place = node.draining ? "draining" : !node.linked ? "lost" : node.why && !node.reporting ? "silent" : (node.zone !== node.name && node.zone) || node.region || "";
    text(h.place, place.length * 7 < h.room ? place : "");
    set(h.group, "aria-label", `host ${node.name}: ${stateOf(node.state).word}${node.why ? ", " + node.why : ""}`);
  }
}

const LOCK = "M1.5 5 h9 v6.5 h-9 z M3.5 5 V3.2 a2.5 2.5 0 0 1 5 0 V5";
const UNLOCK = "M1.5 5 h9 v6.5 h-9 z M3.5 5 V2.6 a2.5 2.5 0 0 1 4.8 -.9";

function markers() {
  return svg("defs", {}, ...["ok", "warn", "error", "idle"].map((state) =>
    svg("marker", {
      id: "arrow-" + state, class: "arrow", "data-state": state, viewBox: "0 0 10 10", refX: 9.5, refY: 5,
      markerWidth: 12, markerHeight: 12, markerUnits: "userSpaceOnUse", orient: "auto",
    }, svg("path", { d: "M0 1 L10 5 L0 9 z" }))));
}
