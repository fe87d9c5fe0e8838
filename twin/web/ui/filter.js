// The filter language: words that must all match. A word is a part of a name, or
// key:part with state:, host:, service:, protocol:; a leading "-" negates it.

export function parseFilter(source) {
  const terms = source.trim().toLowerCase().split(/\s+/).filter(Boolean).map((word) => {
    const negated = word.length > 1 && word.startsWith("-");
    const body = negated ? word.slice(1) : word;
    const at = body.indexOf(":");
    const key = at > 0 ? body.slice(0, at) : "";
    return KEYS.has(key) ? { negated, key, want: body.slice(at + 1) } : { negated, key: "", want: body };
  });
  return { empty: terms.length === 0, match: (facts) => terms.every((t) => has(facts, t) !== t.negated) };
}

const KEYS = new Set(["state", "host", "service", "protocol"]);

function has(facts, term) {
  const lists = term.key ? [facts[term.key] || []] : [facts.service || [], facts.host || [], facts.protocol || []];
  return lists.some((list) => list.some((v) => v.toLowerCase().includes(term.want)));
}

export function edgeFacts(edge) {
  const hosts = edge.paths.flatMap((p) => [p.from, p.to]).filter(Boolean);
  return { service: [edge.src, edge.dst], host: hosts, state: [edge.state], protocol: edge.protocol ? [edge.protocol] : [] };
}

export function serviceFacts(service, host) {
  const hosts = host === undefined ? service.endpoints.map((e) => e.node) : [host];
  return { service: [service.name], host: hosts, state: [service.state], protocol: service.protocol ? [service.protocol] : [] };
}

export function nodeFacts(node) {
  return { host: [node.name], state: [node.state], service: [], protocol: [] };
}
