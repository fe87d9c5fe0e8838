package direct

import (
	"testing"

	"fire/transport/channel"
)

func (n *node) spared() (lines map[string]uint64, memory int) {
	n.t.Helper()
	lines = map[string]uint64{}
	if err := n.b.ask(n.t.Context(), func() {
		for name, s := range n.b.spares {
			lines[name] = s.lines
		}
		memory = n.b.memory
	}); err != nil {
		n.t.Fatal(err)
	}
	return lines, memory
}

// One ring is ready for each channel that is published here; it follows the channel's size,
// goes with the channel, and gives way to a ring that is wanted.
func TestRingThatIsReadyGivesWay(t *testing.T) {
	n := newNode(t)
	n.stop()
	cfg := n.b.cfg
	cfg.MemoryMax = 3 << 20
	n.start(cfg)
	md, orders := n.floor["md"], n.floor["orders"]
	md.Size, orders.Size = 1<<20, 2<<20
	n.floor["md"], n.floor["orders"] = md, orders
	n.apply() // one of orders is more than half of memory_max
	ready := func(lines uint64) func() bool {
		return func() bool { l, _ := n.spared(); return len(l) == 1 && l["md"] == lines }
	}
	eventually(t, "one of md is ready", ready(1<<14))
	md.Size = 512 << 10
	n.floor["md"] = md
	n.apply()
	eventually(t, "one of the new size is", ready(1<<13))
	p := n.publisher("md", "publisher")
	eventually(t, "the next one is", ready(1<<13))
	if r := n.rings(); len(r) != 1 || r[0].Lines != 1<<13 {
		t.Errorf("%+v", r)
	}
	o := n.publisher("orders", "publisher") // with both of md there is no room
	if l, _ := n.spared(); len(l) != 0 {
		t.Errorf("%v is kept", l)
	}
	p.Close()
	o.Close()
	eventually(t, "one of md is ready again", ready(1<<13))
	delete(n.floor, "md")
	n.apply()
	if l, memory := n.spared(); len(l) != 0 || memory != 0 {
		t.Errorf("%v, %d bytes are kept of no channel", l, memory)
	}
	if _, err := channel.OpenPublisher(t.Context(), n.options("md", "publisher")); err == nil {
		t.Error("a channel that is gone is published")
	}
}
