// Numbers for people: three digits, the unit beside them, never a jumping width.

export function rate(v) {
  if (!(v > 0)) return "0";
  if (v < 10) return v < 0.1 ? "<0.1" : v.toFixed(1);
  return count(v);
}

export function count(v) {
  const units = ["", "k", "M", "G", "T"];
  let i = 0;
  while (v >= 999.5 && i < units.length - 1) {
    v /= 1000;
    i++;
  }
  return (i === 0 ? String(Math.round(v)) : digits(v)) + units[i];
}

export function bytes(v) {
  const units = ["B", "kB", "MB", "GB", "TB"];
  let i = 0;
  while (v >= 999.5 && i < units.length - 1) {
    v /= 1000;
    i++;
  }
  return (i === 0 ? String(Math.round(v)) : digits(v)) + " " + units[i];
}

export function percent(v) {
  if (!(v > 0)) return "0 %";
  return v < 0.001 ? "<0.1 %" : (v * 100).toFixed(v < 0.1 ? 1 : 0) + " %";
}

const SPANS = [["s", 1e9], ["ms", 1e6], ["µs", 1e3], ["ns", 1]];

function spanOf(ns) {
  return SPANS.find(([, size]) => ns >= size * 0.9995) || SPANS[3];
}

export function span(ns) {
  if (!(ns > 0)) return "–";
  const [unit, size] = spanOf(ns);
  return digits(ns / size) + " " + unit;
}

// spans writes several spans in the unit of the middle one.
export function spans(list) {
  if (!list.some((v) => v > 0)) return "–";
  const [unit, size] = spanOf(list[Math.floor(list.length / 2)]);
  return list.map((v) => digits(v / size)).join(" / ") + " " + unit;
}

function digits(v) {
  if (v >= 99.95) return String(Math.round(v));
  if (v >= 9.995) return v.toFixed(1);
  return v.toFixed(2);
}

export function age(ms) {
  const s = Math.max(0, Math.round(ms / 1000));
  if (s < 60) return s + " s";
  if (s < 3600) return Math.floor(s / 60) + " min";
  if (s < 86400) return Math.floor(s / 3600) + " h";
  return Math.floor(s / 86400) + " d";
}

export function clock(iso) {
  const d = new Date(iso);
  return Number.isNaN(d.getTime()) ? "" : d.toLocaleTimeString([], { hour12: false });
}

// A state always has a sign and a word beside its colour.
export const STATES = {
  ok: { word: "ok", sign: "●" },
  warn: { word: "warning", sign: "▲" },
  error: { word: "error", sign: "✖" },
  idle: { word: "idle", sign: "○" },
};

export const stateOf = (s) => STATES[s] || STATES.idle;
