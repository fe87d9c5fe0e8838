// The table view: the same figures for readers of tables and screen readers.
// Rows are kept by id and only changed cells are written.

import { el, set, text } from "./dom.js";
import { bytes, count, percent, rate, span, stateOf } from "./format.js";
import { edgeFacts, nodeFacts, serviceFacts } from "./filter.js";

const rankOf = { error: 3, warn: 2, ok: 1, idle: 0 };
const state = (x) => stateOf(x.state).sign + " " + stateOf(x.state).word;

const EDGES = [
  ["Source", (e) => e.src, (e) => e.src],
  ["Destination", (e) => e.dst, (e) => e.dst],
  ["State", state, (e) => rankOf[e.state]],
  ["Requests/s", (e) => rate(e.rate_per_second), (e) => e.rate_per_second],
  ["Errors/s", (e) => rate(e.errors_per_second), (e) => e.errors_per_second],
  ["Error share", (e) => percent(e.error_ratio), (e) => e.error_ratio],
  ["p50", (e) => span(e.p50_ns), (e) => e.p50_ns],
  ["p99", (e) => span(e.p99_ns), (e) => e.p99_ns],
  ["p99.9", (e) => span(e.p999_ns), (e) => e.p999_ns],
  ["Bytes/s", (e) => bytes(e.bytes_per_second), (e) => e.bytes_per_second],
  ["Open", (e) => count(e.active), (e) => e.active],
  ["mTLS", (e) => (e.secured ? "yes" : "no"), (e) => Number(e.secured)],
  ["Protocol", (e) => e.protocol || "–", (e) => e.protocol || ""],
  ["Why", (e) => (e.why || []).join("; "), (e) => (e.why || []).join("; ")],
];

const SERVICES = [
  ["Service", (s) => s.name, (s) => s.name],
  ["State", state, (s) => rankOf[s.state]],
  ["Protocol", (s) => s.protocol || "–", (s) => s.protocol || ""],
  ["Endpoints", (s) => s.endpoints.map((e) => e.node).join(", ") || "–", (s) => s.endpoints.length],
  ["Linked", (s) => registered(s, (e) => e.linked), (s) => s.endpoints.filter((e) => e.linked).length],
  ["Healthy", (s) => registered(s, (e) => e.healthy), (s) => s.endpoints.filter((e) => e.healthy).length],
  ["Why", (s) => s.why || "", (s) => s.why || ""],
];

const HOSTS = [
  ["Host", (n) => n.name, (n) => n.name],
  ["State", state, (n) => rankOf[n.state]],
  ["Linked", (n) => (n.linked ? "yes" : "no"), (n) => Number(n.linked)],
  ["Reporting", (n) => (n.reporting ? "yes" : "no"), (n) => Number(n.reporting)],
  ["Address", (n) => n.addr || "–", (n) => n.addr || ""],
  ["Region", (n) => [n.region, n.zone].filter(Boolean).join(", ") || "–", (n) => (n.region || "") + (n.zone || "")],
  ["Roles", (n) => (n.roles || []).join(", ") || "–", (n) => (n.roles || []).join()],
  ["Release", (n) => n.release || "–", (n) => n.release || ""],
  ["Why", (n) => n.why || "", (n) => n.why || ""],
];

function registered(s, is) {
  const list = s.endpoints.filter((e) => !e.observed);
  return list.length ? list.filter(is).length + " of " + list.length : "–";
}

export class Tables {
  #tables;

  constructor(root, store, select) {
    this.#tables = [
      new Table("edge", "Edges", EDGES, () => [...store.edges], edgeFacts, select),
      new Table("service", "Services", SERVICES, () => [...store.services], serviceFacts, select),
      new Table("node", "Hosts", HOSTS, () => [...store.nodes], nodeFacts, select),
    ];
    root.append(...this.#tables.map((t) => t.section));
  }

  update(filter, selected) {
    for (const t of this.#tables) t.update(filter, selected);
  }
}

class Table {
  #kind;
  #columns;
  #list;
  #facts;
  #select;
  #sort = { column: 0, up: true };
  #rows = new Map();
  #body = el("tbody");
  #heads;
  #count = el("span", { class: "muted" });

  constructor(kind, title, columns, list, facts, select) {
    this.#kind = kind;
    this.#columns = columns;
    this.#list = list;
    this.#facts = facts;
    this.#select = select;
    this.#heads = columns.map(([name], i) => el("th", { scope: "col", "aria-sort": i === 0 ? "ascending" : "none" },
      el("button", { type: "button", onclick: () => this.#sortBy(i) }, name)));
    this.section = el("section", { class: "table" }, el("h2", {}, title, " ", this.#count),
      el("table", { "data-table": kind }, el("caption", { class: "hidden" }, title + ", live; the buttons in the head sort"),
        el("thead", {}, el("tr", {}, ...this.#heads)), this.#body));
  }

  // The first click puts names in order and the biggest number on top.
  #sortBy(column) {
    const first = this.#list()[0];
    const names = !first || typeof this.#columns[column][2](first[1]) === "string";
    this.#sort = { column, up: this.#sort.column === column ? !this.#sort.up : names };
    this.#heads.forEach((h, i) => set(h, "aria-sort", i !== column ? "none" : this.#sort.up ? "ascending" : "descending"));
    this.update(...this.#last);
  }

  #last = [{ empty: true, match: () => true }, null];

  update(filter, selected) {
    this.#last = [filter, selected];
    const value = this.#columns[this.#sort.column][2];
    const all = this.#list().filter(([, item]) => filter.match(this.#facts(item)));
    all.sort(([a, x], [b, y]) => {
      const [p, q] = [value(x), value(y)];
      const order = p < q ? -1 : p > q ? 1 : 0;
      return (this.#sort.up ? order : -order) || (a < b ? -1 : 1);
    });
    const seen = new Set();
    let before = null;
    for (const [id, item] of all) {
      seen.add(id);
      const row = this.#rows.get(id) || this.#make(id);
      this.#fill(row, item);
      row.classList.toggle("chosen", selected?.kind === this.#kind && selected.id === id);
      const place = before ? before.nextSibling : this.#body.firstChild;
      if (row !== place) this.#body.insertBefore(row, place);
      before = row;
    }
    for (const [id, row] of this.#rows) {
      if (!seen.has(id)) {
        row.remove();
        this.#rows.delete(id);
      }
    }
    text(this.#count, String(all.length));
  }

  #make(id) {
    const choose = () => this.#select({ kind: this.#kind, id });
    const cells = this.#columns.map((_, i) => el(i === 0 ? "th" : "td", i === 0 ? { scope: "row" } : {}));
    cells[0].append(el("button", { type: "button", class: "link" }));
    const row = el("tr", { "data-row": id, onclick: choose }, ...cells);
    this.#rows.set(id, row);
    return row;
  }

  #fill(row, item) {
    set(row, "data-state", item.state);
    this.#columns.forEach(([, shown], i) => {
      const cell = row.cells[i];
      text(i === 0 ? cell.firstChild : cell, shown(item));
    });
  }
}
