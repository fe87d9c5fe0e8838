package shm

import (
	"fmt"
	"os"
	"testing"
)

func TestMemoryIsOnANodeOfTheHost(t *testing.T) {
	c := newChannel(t, Lane, linesMin)
	r, _ := c.reader(0)
	node, ok := c.w.MemoryNode()
	if !ok {
		t.Skip("the kernel does not say")
	}
	if _, err := os.Stat(fmt.Sprintf("/sys/devices/system/node/node%d", node)); err != nil {
		t.Errorf("node %d: %v", node, err)
	}
	if other, _ := r.MemoryNode(); other != node {
		t.Errorf("the writer's mapping is on node %d, the reader's on %d", node, other)
	}
	gone := memory{base: c.w.ring.base}
	if _, ok := gone.node(1 << 46); ok {
		t.Error("memory that is not mapped is on a node")
	}
}
