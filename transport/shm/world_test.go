package shm

import (
	"encoding/binary"
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
	"time"
)

// channel is a ring as its broker makes it, with a writer.
type channel struct {
	t    testing.TB
	spec Spec
	data *os.File
	gate *Gate
	w    *Writer
}

func newChannel(t testing.TB, d Discipline, lines uint64) *channel {
	t.Helper()
	c := &channel{t: t, spec: Spec{Name: "md-nyse", Discipline: d, Lines: lines, Epoch: 7, Key: 0x1122334455667788, Created: time.Unix(1700000000, 0)}}
	var err error
	if c.data, err = CreateData(c.spec); err != nil {
		t.Fatal(err)
	}
	if c.gate, err = CreateGate(c.spec.Name, c.spec.Epoch); err != nil {
		t.Fatal(err)
	}
	if c.w, err = OpenWriter(c.data, c.gate.File()); err != nil {
		t.Fatal(err)
	}
	if err := Seal(c.data); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.w.Close(); err != nil {
			t.Error(err)
		}
		c.gate.Close()
		c.data.Close()
	})
	return c
}

// reader attaches one; position is where a lane's begins.
func (c *channel) reader(position uint64) (*Reader, *Peer) {
	c.t.Helper()
	f, err := CreateCursor(c.spec.Name, c.spec.Epoch, position)
	if err != nil {
		c.t.Fatal(err)
	}
	r, err := OpenReader(c.data, f, c.gate.File())
	if err != nil {
		c.t.Fatal(err)
	}
	if err := Seal(f); err != nil {
		c.t.Fatal(err)
	}
	p, err := c.w.AddReader(f)
	if err != nil {
		c.t.Fatal(err)
	}
	f.Close()
	c.t.Cleanup(func() {
		if err := r.Close(); err != nil {
			c.t.Error(err)
		}
	})
	return r, p
}

// message k has a length and content that follow from k.
func message(k uint64, most int) []byte {
	rng := rand.New(rand.NewPCG(k, 1))
	b := make([]byte, 8+rng.IntN(most-7))
	binary.LittleEndian.PutUint64(b, k)
	for i := 8; i < len(b); i++ {
		b[i] = byte(k) + byte(i)
	}
	return b
}

func number(t *testing.T, p []byte, most int) uint64 {
	t.Helper()
	k := binary.LittleEndian.Uint64(p)
	if want := message(k, most); string(want) != string(p) {
		t.Fatalf("message %d is not whole: %d bytes, want %d", k, len(p), len(want))
	}
	return k
}

func newBenchChannel(b *testing.B, d Discipline) *channel { return newChannel(b, d, 4096) }

func sizeName(n int) string { return strconv.Itoa(n) + "B" }
