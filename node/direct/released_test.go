package direct

import (
	"syscall"
	"testing"

	"fire/transport/channel"
	"fire/transport/shm"
)

func TestLanesThatDieWithTheirWritersAreCounted(t *testing.T) {
	n := newNode(t)
	stays := n.publisher("orders", "second")
	defer stays.Close()
	n.publisher("orders", "publisher").Close() // on purpose: no death
	cut := n.publisher("md", "publisher")
	defer cut.Close()
	if _, err := n.b.Revoke(t.Context(), Revocation{Channel: "md", By: "test"}); err != nil {
		t.Fatal(err)
	}
	start(t, "publisher", n.b.Path(), "orders", "publisher").signal(syscall.SIGKILL)
	eventually(t, "the death is known", func() bool { return len(n.events(Died)) == 1 })
	if r := n.rings(); len(r) != 1 || r[0].Writer.Service != "second" || r[0].Released != 1 {
		t.Errorf("%+v", r)
	}
	if c, err := n.b.Count(t.Context()); err != nil || c.Released != 1 || c.Died != 1 || c.Cut != 1 {
		t.Errorf("%+v, %v", c, err)
	}
	s := n.subscriber("orders", "subscriber") // the lane that stays is as it was
	defer s.Close()
	eventually(t, "it is paired", func() bool { return len(n.events(Paired)) >= 1 })
	read := 0
	h := channel.Handler{Message: func(*channel.Source, uint16, []byte) { read++ }}
	eventually(t, "messages come", func() bool {
		if stays.Offer(1, []byte("x")) == shm.Shut {
			t.Fatal("it was cut")
		}
		s.Poll(10, &h)
		return read > 0
	})
}
