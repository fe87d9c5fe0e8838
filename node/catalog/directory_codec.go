package catalog

import (
	"encoding/json"
	"fmt"
	"time"

	"fire/policy/id"
)

// recordFormat is the version of the durable record.
const recordFormat = 1

// record is the durable part of a Directory. Leases are in it as a hint only: a
// restarted control shows the endpoints it remembers, unlinked, for one lease, so
// that its first snapshot does not empty every node's routing.
type record struct {
	Format   int                   `json:"format"`
	Domain   id.Domain             `json:"domain"`
	Reserved uint64                `json:"reserved"`
	Floors   []Edition             `json:"floors"`
	Nodes    map[string]member     `json:"nodes"`
	Drains   map[string]bool       `json:"drains"`
	Revoked  map[string]Revocation `json:"revoked"`
	Hint     map[string]Endpoint   `json:"hint"`
}

// Encode is the durable record. Equal directories have equal records.
func (d *Directory) Encode() ([]byte, error) {
	r := record{Format: recordFormat, Domain: d.domain, Reserved: d.reserved, Floors: d.floors, Nodes: d.nodes,
		Drains: d.drains, Revoked: d.revoked, Hint: make(map[string]Endpoint, len(d.leases))}
	for key, l := range d.leases {
		r.Hint[key] = l.Endpoint
	}
	return json.Marshal(r)
}

// DecodeDirectory reads Encode's record. now starts the one lease of remembered
// endpoints. Every number it hands out lies above all that were reserved before.
func DecodeDirectory(b []byte, limits Limits, now time.Time) (*Directory, error) {
	var r record
	if err := json.Unmarshal(b, &r); err != nil {
		return nil, fmt.Errorf("control state: %w", err)
	}
	if r.Format != recordFormat {
		return nil, fmt.Errorf("control state has format %d, this release reads %d", r.Format, recordFormat)
	}
	d := NewDirectory(r.Domain, limits)
	d.reserved, d.seq, d.floors = r.Reserved, r.Reserved, r.Floors
	for i := range d.floors {
		d.floors[i].Floor = d.floors[i].Floor.whole()
	}
	d.nodes, d.drains, d.revoked = filled(r.Nodes), filled(r.Drains), filled(r.Revoked)
	f := d.Current().Floor
	for key, e := range r.Hint {
		if _, ok := d.nodes[e.Node]; ok && f.placed(e.Service, e.Node) && key == EndpointKey(e.Service, e.Node) {
			d.leases[key] = lease{Endpoint: e, until: now.Add(limits.Lease)}
		}
	}
	return d, nil
}

// Clone is a Directory on its own, for trying a durable change before its record
// is on disk.
func (d *Directory) Clone() *Directory {
	c := *d
	c.nodes, c.drains, c.revoked = copied(d.nodes), copied(d.drains), copied(d.revoked)
	c.links, c.leases = copied(d.links), copied(d.leases)
	return &c
}
