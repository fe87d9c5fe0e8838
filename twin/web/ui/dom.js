// Elements are made here and nowhere else. Text goes in as text nodes and
// attributes through setAttribute, so nothing that a node reports is ever markup.

const SVG = "http://www.w3.org/2000/svg";

export const $ = (id) => document.getElementById(id);

export function el(tag, attributes, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

export function svg(tag, attributes, ...children) {
  return fill(document.createElementNS(SVG, tag), attributes, children);
}

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes || {})) {
    if (name.startsWith("on")) {
      node.addEventListener(name.slice(2), value);
    } else if (value !== null && value !== undefined && value !== false) {
      node.setAttribute(name, value === true ? "" : value);
    }
  }
  node.append(...children.filter((c) => c !== null && c !== undefined));
  return node;
}

// set and text touch the document only when something changes: at four deltas a
// second a needless write is a needless layout.
export function set(node, name, value) {
  const v = String(value);
  if (node.getAttribute(name) !== v) {
    node.setAttribute(name, v);
  }
}

export function text(node, value) {
  if (node.textContent !== value) {
    node.textContent = value;
    return true;
  }
  return false;
}

export function listen(target, type, handler, options) {
  target.addEventListener(type, handler, options);
}
