package bridge

import "fire/policy/reason"

// share is what other hosts have taken of this one: streams that are answered, and memory
// for what is on its way from them. One host cannot have all of it. Of Bridge.mu.
type share struct {
	streams map[string]int
	total   int
	bytes   map[string]int
}

func newShare() share { return share{streams: map[string]int{}, bytes: map[string]int{}} }

// enter takes a stream of a host in. A quarter of them is kept for hosts that have none.
func (b *Bridge) enter(node string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	s, most := &b.share, b.cfg.PeersMax
	if s.streams[node] > 0 {
		most -= most / 4
	}
	if s.total >= most {
		return false
	}
	s.total++
	s.streams[node]++
	return true
}

func (b *Bridge) leave(node string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.share.total--
	if b.share.streams[node]--; b.share.streams[node] == 0 {
		delete(b.share.streams, node)
	}
}

// claim takes memory for what comes from a host. Its windows' sizes are what that host says,
// so their sum is bounded.
func (b *Bridge) claim(node string, bytes int) *reason.Error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if has := b.share.bytes[node]; has+bytes > b.cfg.HostBytesMax {
		return reason.New(reason.ChannelBusy, "the lanes of %s want %d bytes beside the %d that they have; host_bytes_max in [bridge] lets a host have %d", node, bytes, has, b.cfg.HostBytesMax)
	}
	b.share.bytes[node] += bytes
	return nil
}

func (b *Bridge) release(node string, bytes int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.share.bytes[node] -= bytes; b.share.bytes[node] <= 0 {
		delete(b.share.bytes, node)
	}
}
