// The detail panel of an edge, a service or a host. What the stream does not carry
// (both sides, history, sessions) is fetched once a second while the panel is open.

import { el, svg } from "./dom.js";
import { age, bytes, count, percent, rate, span, stateOf } from "./format.js";

const POLL_MILLIS = 1000;

export class Panel {
  #root;
  #store;
  #select;
  #selected = null;
  #detail = null;
  #timer = null;

  constructor(root, store, select) {
    this.#root = root;
    this.#store = store;
    this.#select = select;
  }

  show(selected) {
    const same = selected && this.#selected && selected.kind === this.#selected.kind && selected.id === this.#selected.id;
    this.#selected = selected;
    this.#root.hidden = !selected;
    clearTimeout(this.#timer);
    if (!selected) return;
    if (!same) {
      this.#detail = null;
      this.#root.scrollTop = 0;
    }
    this.update();
    this.#poll(selected);
  }

  async #poll(selected) {
    const url = selected.kind === "edge" ? "/api/v1/edge?" + new URLSearchParams({ src: selected.id.split(">")[0], dst: selected.id.split(">")[1] })
      : selected.kind === "node" ? "/api/v1/node?" + new URLSearchParams({ name: selected.id }) : null;
    if (!url) return;
    try {
      const answer = await fetch(url, { signal: AbortSignal.timeout(3000) });
      if (this.#selected !== selected) return;
      if (answer.ok) {
        this.#detail = await answer.json();
        this.update();
      }
    } catch {
      // The stream says that the server is away; the panel keeps what it has.
    }
    if (this.#selected === selected) this.#timer = setTimeout(() => this.#poll(selected), POLL_MILLIS);
  }

  update() {
    const s = this.#selected;
    if (!s) return;
    const focused = this.#root.contains(document.activeElement) ? document.activeElement.dataset.key : null;
    const body = s.kind === "edge" ? this.#edge(s.id) : s.kind === "service" ? this.#service(s.id) : this.#node(s.id);
    const close = el("button", { type: "button", class: "plain close", "data-key": "close", "aria-label": "Close details", onclick: () => this.#select(null) }, "✕");
    this.#root.replaceChildren(close, ...body.filter(Boolean));
    if (focused) this.#root.querySelector(`[data-key="${CSS.escape(focused)}"]`)?.focus();
  }

  #edge(id) {
    const e = this.#store.edges.get(id);
    if (!e) return [heading("Edge", id.replace(">", " → ")), el("p", { class: "muted" }, "This edge is no longer on the map.")];
    const detail = this.#detail?.edge;
    return [
      heading("Edge", e.src + " → " + e.dst, e.state),
      reasons(e.why, e.state),
      el("div", { class: "tiles" },
        tile("Requests", rate(e.rate_per_second) + "/s"), tile("Errors", rate(e.errors_per_second) + "/s", e.errors_per_second > 0),
        tile("Error share", percent(e.error_ratio), e.error_ratio > 0), tile("p50", span(e.p50_ns)), tile("p99", span(e.p99_ns)), tile("p99.9", span(e.p999_ns))),
      ...(this.#detail?.history ? sparks(this.#detail.history) : []),
      el("h3", {}, "Both sides"),
      sides(detail?.client, detail?.server),
      reasonCounts(detail),
      el("h3", {}, "Path"),
      facts([
        ["mutual TLS", e.secured ? "yes, both ends verified" : "no"], ["protocol", e.protocol || "–"], ["open now", count(e.active)],
        ["bytes", bytes(e.bytes_per_second) + "/s"], ["since", detail ? stateOf(e.state).word + " for " + age(this.#store.now() - new Date(detail.since)) : "–"],
      ]),
      el("ul", { class: "list" }, ...e.paths.map((p) => el("li", {}, badge(p.state),
        el("span", {}, (p.from || "?") + " → " + (p.to || "?")), el("b", {}, rate(p.rate_per_second) + "/s")))),
      el("div", { class: "chips" }, this.#link("service", e.src), this.#link("service", e.dst)),
    ];
  }

  #service(id) {
    const s = this.#store.services.get(id);
    if (!s) return [heading("Service", id), el("p", { class: "muted" }, "This service is no longer on the map.")];
    const edges = [...this.#store.edges.values()];
    return [
      heading("Service", s.name, s.state),
      reasons(s.why ? [s.why] : [], s.state),
      s.description ? el("p", { class: "muted" }, s.description) : null,
      facts([["protocol", s.protocol || "–"], ["port", s.port ? String(s.port) : "–"], ["class", s.class || "–"], ["declared", s.declared ? "yes" : "no, seen in traffic only"]]),
      el("h3", {}, "Endpoints"),
      el("ul", { class: "list" }, ...s.endpoints.map((p) => el("li", {}, badge(p.state), this.#link("node", p.node),
        el("span", { class: "muted" }, p.observed ? "client, not registered" : [p.linked ? "LINKED" : "not linked", p.healthy ? "HEALTHY" : "not healthy",
          p.draining ? "draining" : "", p.why || ""].filter(Boolean).join(" · "))))),
      el("h3", {}, "Called by"), this.#edgeList(edges.filter((e) => e.dst === id), (e) => e.src),
      el("h3", {}, "Calls"), this.#edgeList(edges.filter((e) => e.src === id), (e) => e.dst),
    ];
  }

  #node(id) {
    const n = this.#store.nodes.get(id);
    if (!n) return [heading("Host", id), el("p", { class: "muted" }, "This host is no longer on the map.")];
    const detail = this.#detail?.node;
    const last = detail?.last_report ? age(this.#store.now() - new Date(detail.last_report)) + " ago" : "never";
    const homes = [...this.#store.services.values()].filter((s) => s.endpoints.some((e) => e.node === id));
    return [
      heading("Host", n.name, n.state),
      reasons(n.why ? [n.why] : [], n.state),
      facts([["address", n.addr || "–"], ["region, zone", [n.region, n.zone].filter(Boolean).join(", ") || "–"], ["roles", (n.roles || []).join(", ") || "–"],
        ["release", n.release || "–"], ["linked", n.linked ? "yes" : "no"], ["last report", last],
        ["clock", n.clock_offset_ns ? span(Math.abs(n.clock_offset_ns)) + (n.clock_offset_ns < 0 ? " behind" : " ahead") : "in step"],
        ["certificate until", n.cert_not_after ? new Date(n.cert_not_after).toLocaleString() : "–"]]),
      el("h3", {}, "Services"),
      el("div", { class: "chips" }, ...homes.map((s) => this.#link("service", s.name))),
      el("h3", {}, "Sessions"),
      detail?.sessions?.length ? el("ul", { class: "list" }, ...detail.sessions.map((s) => el("li", {}, badge("ok"), this.#link("node", s.peer),
        el("span", { class: "muted" }, s.class + " · " + s.streams + " streams"), el("b", {}, span(s.rtt_ns))))) : el("p", { class: "muted" }, "None reported."),
    ];
  }

  #edgeList(edges, other) {
    if (!edges.length) return el("p", { class: "muted" }, "Nobody seen.");
    return el("ul", { class: "list" }, ...edges.map((e) => el("li", {}, badge(e.state),
      this.#link("edge", e.src + ">" + e.dst, other(e)), el("span", { class: "muted" }, "p99 " + span(e.p99_ns)), el("b", {}, rate(e.rate_per_second) + "/s"))));
  }

  #link(kind, id, label = id) {
    return el("button", { type: "button", class: "link", "data-key": kind + ":" + id, onclick: () => this.#select({ kind, id }) }, label);
  }
}

function heading(kind, name, state) {
  return el("header", {}, el("small", {}, kind), el("h2", {}, name), state ? badge(state, true) : null);
}

function badge(state, withWord) {
  const s = stateOf(state);
  return el("span", { class: "badge", "data-state": state, title: s.word }, s.sign + (withWord ? " " + s.word : ""));
}

function reasons(list, state) {
  return list?.length ? el("ul", { class: "why", "data-state": state }, ...list.map((w) => el("li", {}, w))) : null;
}

function tile(name, value, bad) {
  return el("div", { class: bad ? "tile bad" : "tile" }, el("span", {}, name), el("b", {}, value));
}

function facts(rows) {
  return el("dl", { class: "facts" }, ...rows.flatMap(([k, v]) => [el("dt", {}, k), el("dd", {}, v)]));
}

function sides(client, server) {
  const rows = [["requests", (s) => rate(s.rate_per_second) + "/s"], ["errors", (s) => rate(s.errors_per_second) + "/s"],
    ["refused", (s) => rate(s.refused_per_second) + "/s"], ["opened", (s) => rate(s.opened_per_second) + "/s"], ["open now", (s) => count(s.active)],
    ["p50", (s) => span(s.p50_ns)], ["p99", (s) => span(s.p99_ns)], ["p99.9", (s) => span(s.p999_ns)], ["connect p99", (s) => span(s.connect_p99_ns)],
    ["out", (s) => bytes(s.bytes_out_per_second) + "/s"], ["in", (s) => bytes(s.bytes_in_per_second) + "/s"], ["total", (s) => count(s.requests_total)],
    ["seen from", (s) => s.nodes.join(", ")]];
  const cell = (s, f) => el("td", {}, s ? f(s) : "–");
  return el("table", { class: "sides" }, el("thead", {}, el("tr", {}, el("td", {}), el("th", { scope: "col" }, "client"), el("th", { scope: "col" }, "server"))),
    el("tbody", {}, ...rows.map(([name, f]) => el("tr", {}, el("th", { scope: "row" }, name), cell(client, f), cell(server, f)))));
}

function reasonCounts(detail) {
  const list = detail?.client?.reasons?.length ? detail.client.reasons : detail?.server?.reasons;
  if (!list?.length) return null;
  return el("ul", { class: "list" }, ...list.map((r) => el("li", {}, el("code", {}, r.reason), el("b", {}, count(r.count) + " in 10 s"))));
}

function sparks(history) {
  return [
    el("h3", {}, "Last 60 s"),
    spark("requests/s", history.map((p) => p.rate_per_second), (v) => rate(v), "ok"),
    spark("errors/s", history.map((p) => p.errors_per_second), (v) => rate(v), "error"),
    spark("p99", history.map((p) => p.p99_ns), span, "accent"),
  ];
}

const SPARK = { width: 300, height: 34, points: 60 };

function spark(name, values, format, tone) {
  const top = Math.max(...values, 0);
  const step = SPARK.width / (SPARK.points - 1);
  const first = SPARK.points - values.length;
  const at = (v, i) => `${((first + i) * step).toFixed(1)},${(SPARK.height - 2 - (top > 0 ? v / top : 0) * (SPARK.height - 6)).toFixed(1)}`;
  const line = values.map(at).join(" ");
  const area = values.length ? `${(first * step).toFixed(1)},${SPARK.height} ${line} ${SPARK.width},${SPARK.height}` : "";
  const last = values.length ? values[values.length - 1] : 0;
  return el("figure", { class: "spark", "data-tone": tone },
    el("figcaption", {}, el("span", {}, name), el("b", {}, format(last)), el("small", {}, "max " + format(top))),
    svg("svg", { viewBox: `0 0 ${SPARK.width} ${SPARK.height}`, preserveAspectRatio: "none", role: "img", "aria-label": `${name}: now ${format(last)}, at most ${format(top)} in 60 s` },
      svg("polygon", { points: area }), svg("polyline", { points: line })));
}
