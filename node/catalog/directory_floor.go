package catalog

import (
	"slices"
	"time"

	"fire/policy/reason"
)

// Edition is one version of the floor file. A rollback makes a new edition with
// an older one's content: numbers never go back.
type Edition struct {
	Version uint64    `json:"version"`
	At      time.Time `json:"at"`
	By      string    `json:"by,omitempty"`
	Note    string    `json:"note,omitempty"`
	Floor   Floor     `json:"floor"`
}

// Current is the edition in force; version 0, empty, before the first.
func (d *Directory) Current() Edition {
	if len(d.floors) == 0 {
		return Edition{}
	}
	return d.floors[len(d.floors)-1]
}

// History returns the kept editions, oldest first.
func (d *Directory) History() []Edition { return slices.Clone(d.floors) }

// ApplyFloor puts a floor, which has passed Floor.Problems, in force and returns
// its version. The same floor again changes nothing. Endpoints that it does not
// place any more are removed. Durable.
func (d *Directory) ApplyFloor(f Floor, by, note string, now time.Time) (uint64, []Event, error) {
	if ps := f.Problems(); len(ps) > 0 {
		return 0, nil, reason.New(reason.ConfigRejected, "%s (%d problems)", ps[0], len(ps))
	}
	cur := d.Current()
	if cur.Version > 0 && f.equal(cur.Floor) {
		return cur.Version, nil, nil
	}
	next := Edition{Version: cur.Version + 1, At: stamp(now), By: clip(by), Note: clip(note), Floor: f.whole()}
	d.floors = append(slices.Clone(d.floors), next)
	d.trim()
	d.changed = true
	events := []Event{{Kind: FloorApplied, At: now, Detail: note}}
	for _, key := range sortedKeys(d.leases) {
		if l := d.leases[key]; !f.placed(l.Service, l.Node) {
			events = append(events, d.drop(key, l, reason.NotPlaced, "the floor does not place it there any more", now))
		}
	}
	for key := range d.drains {
		if service, node := splitKey(key); service != "" && !f.placed(service, node) {
			delete(d.drains, key)
		}
	}
	return next.Version, events, nil
}

// Edition returns a kept edition; 0 means the one before the current.
func (d *Directory) Edition(version uint64) (Edition, error) {
	if version == 0 {
		if len(d.floors) < 2 {
			return Edition{}, reason.New(reason.NoSuchVersion, "there is no earlier floor version to go back to")
		}
		return d.floors[len(d.floors)-2], nil
	}
	for _, e := range d.floors {
		if e.Version == version {
			return e, nil
		}
	}
	return Edition{}, reason.New(reason.NoSuchVersion, "floor version %d is not kept; the last %d are", version, len(d.floors))
}

// Rollback applies the content of an earlier edition as a new one. Durable.
func (d *Directory) Rollback(to uint64, by, note string, now time.Time) (uint64, []Event, error) {
	e, err := d.Edition(to)
	if err != nil {
		return 0, nil, err
	}
	return d.ApplyFloor(e.Floor, by, note, now)
}

// trim forgets the oldest editions, but never the last two.
func (d *Directory) trim() {
	items := 0
	for i := len(d.floors) - 1; i >= 0; i-- {
		items += len(d.floors[i].Floor.Services) + len(d.floors[i].Floor.Policies) + len(d.floors[i].Floor.Channels)
		kept := len(d.floors) - i
		if kept > 2 && (kept > d.limits.History || items > historyItems) {
			d.floors = slices.Clone(d.floors[i+1:])
			return
		}
	}
}
