// The page's copy of the floor, kept by one stream. EventSource reconnects by
// itself and says with Last-Event-ID what it has, so a short break costs one delta.

const STALE_MILLIS = 3000;
const EVENTS_MAX = 200;

export class Store extends EventTarget {
  nodes = new Map();
  services = new Map();
  edges = new Map();
  events = [];
  layout = null;
  intake = null;
  floorVersion = 0;
  version = 0;
  heard = 0; // performance.now() of the last message
  skew = 0; // server's clock minus ours, in ms
  #source = null;
  #broken = true;

  start() {
    this.#open();
    setInterval(() => this.#watch(), 500);
  }

  // live is "live", "reconnecting" or "stale", with the age of what is shown.
  live() {
    const age = this.heard ? performance.now() - this.heard : 0;
    if (!this.heard) return { state: this.#broken ? "connecting" : "live", age: 0 };
    if (this.#broken) return { state: "reconnecting", age };
    return { state: age > STALE_MILLIS ? "stale" : "live", age };
  }

  now() {
    return Date.now() + this.skew;
  }

  #open() {
    const source = new EventSource("/api/v1/events");
    this.#source = source;
    source.addEventListener("snapshot", (e) => this.#take(JSON.parse(e.data), true));
    source.addEventListener("delta", (e) => this.#take(JSON.parse(e.data), false));
    source.addEventListener("open", () => this.#mark(false));
    source.addEventListener("error", () => this.#mark(true));
  }

  #mark(broken) {
    this.#broken = broken;
    this.dispatchEvent(new Event("live"));
  }

  // A browser gives up on an answer such as 503; then a new stream starts afresh.
  #watch() {
    if (this.#source.readyState === EventSource.CLOSED) {
      this.#open();
    }
    this.dispatchEvent(new Event("live"));
  }

  #take(m, whole) {
    if (!whole && m.from !== this.version) {
      // Not ours to build on: start over instead of showing a mixture.
      this.#source.close();
      this.#open();
      return;
    }
    if (whole) {
      this.nodes.clear();
      this.services.clear();
      this.edges.clear();
      this.events = [];
    }
    for (const n of m.nodes || []) this.nodes.set(n.name, n);
    for (const s of m.services || []) this.services.set(s.name, s);
    for (const e of m.edges || []) this.edges.set(e.src + ">" + e.dst, e);
    for (const id of m.gone?.nodes || []) this.nodes.delete(id);
    for (const id of m.gone?.services || []) this.services.delete(id);
    for (const id of m.gone?.edges || []) this.edges.delete(id);
    this.events = this.events.concat(m.events || []).slice(-EVENTS_MAX);
    const moved = Boolean(m.layout);
    if (moved) this.layout = m.layout;
    this.intake = m.intake;
    this.floorVersion = m.floor_version;
    this.version = m.version;
    this.heard = performance.now();
    this.skew = new Date(m.at).getTime() - Date.now();
    this.#broken = false;
    this.dispatchEvent(new CustomEvent("change", { detail: { moved, whole, events: m.events || [] } }));
  }
}
