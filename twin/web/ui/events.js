// The list of events, newest first, and the one-line ticker at the bottom.

import { el, text } from "./dom.js";
import { clock, stateOf } from "./format.js";

export class Events {
  #root;
  #ticker;
  #store;
  #select;
  #shown = "";

  constructor(root, ticker, store, select) {
    this.#root = root;
    this.#ticker = ticker;
    this.#store = store;
    this.#select = select;
    this.#root.append(el("h2", {}, "Events"), el("ol", { class: "events" }));
  }

  update(words) {
    const events = this.#store.events;
    const newest = events[events.length - 1];
    text(this.#ticker, newest ? `${clock(newest.at)}  ${stateOf(newest.severity).sign}  ${newest.text}` : "No events yet");
    this.#ticker.dataset.state = newest ? newest.severity : "idle";
    const key = (newest ? newest.id : 0) + "|" + words;
    if (this.#shown === key) return;
    this.#shown = key;
    const wanted = words.trim().toLowerCase();
    const list = events.filter((e) => !wanted || (e.text + " " + e.kind + " state:" + e.severity).toLowerCase().includes(wanted));
    this.#root.lastChild.replaceChildren(...list.reverse().map((e) => this.#line(e)));
  }

  #line(e) {
    const target = targetOf(e.subject || "");
    const what = target
      ? el("button", { type: "button", class: "link", onclick: () => this.#select(target) }, e.text)
      : el("span", {}, e.text);
    return el("li", { "data-kind": e.kind }, el("time", { datetime: e.at }, clock(e.at)),
      el("span", { class: "badge", "data-state": e.severity, title: stateOf(e.severity).word }, stateOf(e.severity).sign),
      el("code", {}, e.kind), what);
  }
}

function targetOf(subject) {
  const at = subject.indexOf(" ");
  const [kind, id] = [subject.slice(0, at), subject.slice(at + 1)];
  if (kind === "edge" || kind === "node") return { kind, id };
  if (kind === "endpoint") return { kind: "service", id: id.split("@")[0] };
  return null;
}
