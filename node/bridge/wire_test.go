package bridge

import (
	"bytes"
	"encoding/json"
	"io"
	"net/netip"
	"reflect"
	"strings"
	"testing"

	"fire/policy/reason"
	"fire/transport"
	"fire/transport/udp"
)

func good() (*want, *lane) {
	at := []netip.AddrPort{netip.MustParseAddrPort("10.0.0.1:7000")}
	salt := bytes.Repeat([]byte{1}, saltBytes)
	return &want{Version: protocolVersion, Channel: "md", To: at, Datagrams: 1408, Window: 4096, Salt: salt},
		&lane{ID: 1, Feedback: 2, Service: "feed", From: at, Datagrams: 1408, Window: 4096, Salt: salt, Stream: salt, Packet: 3, Message: 4}
}

func TestNotesComeBackAsTheyWere(t *testing.T) {
	w, l := good()
	grouped := *l
	grouped.Group = &group{To: []netip.AddrPort{netip.MustParseAddrPort("239.1.1.1:7000")}, Epoch: 2, Secret: make([]byte, 32), Public: make([]byte, 32), Chain: make([]byte, 32)}
	var stream []byte
	notes := []*note{{Want: w}, {Lane: l}, {Lane: &grouped}, {Gone: &gone{1}}, {Blocked: &blocked{1}}, {Epoch: &epoch{1, 2, make([]byte, 32)}}, {Taken: &taken{1, 2}},
		{Refused: &refused{reason.DeniedByDefault, "no"}}, {Leave: &leave{}}, {Leave: &leave{[]resume{{bytes.Repeat([]byte{1}, saltBytes), 2, 3}}}}}
	for _, n := range notes {
		var err error
		if stream, err = appendNote(stream, n); err != nil {
			t.Fatal(err)
		}
	}
	datagram := bytes.Repeat([]byte{7}, 100)
	stream = appendDatagram(stream, datagram)
	r := bytes.NewReader(stream)
	for _, want := range notes {
		n, d, err := readFrame(r)
		if err != nil || d != nil || !reflect.DeepEqual(n, want) {
			t.Errorf("%+v, %v, %v; want %+v", n, d, err, want)
		}
	}
	if n, d, err := readFrame(r); err != nil || n != nil || !bytes.Equal(d, datagram) {
		t.Error(n, d, err)
	}
	if _, _, err := readFrame(r); err != io.EOF {
		t.Error(err)
	}
}

func TestNotesThatLieAreRefused(t *testing.T) {
	for what, edit := range map[string]func(w *want, l *lane) *note{
		"two things":           func(w *want, l *lane) *note { return &note{Want: w, Lane: l} },
		"nothing":              func(w *want, l *lane) *note { return &note{} },
		"another version":      func(w *want, l *lane) *note { w.Version = protocolVersion + 1; return &note{Want: w} },
		"no channel":           func(w *want, l *lane) *note { w.Channel = ""; return &note{Want: w} },
		"no line":              func(w *want, l *lane) *note { w.To = nil; return &note{Want: w} },
		"three lines":          func(w *want, l *lane) *note { w.To = append(w.To, w.To[0], w.To[0]); return &note{Want: w} },
		"nobody's address":     func(w *want, l *lane) *note { w.To[0] = netip.MustParseAddrPort("0.0.0.0:1"); return &note{Want: w} },
		"everybody's address":  func(w *want, l *lane) *note { w.To[0] = netip.MustParseAddrPort("239.0.0.1:1"); return &note{Want: w} },
		"no port":              func(w *want, l *lane) *note { w.To[0] = netip.MustParseAddrPort("10.0.0.1:0"); return &note{Want: w} },
		"a short stream":       func(w *want, l *lane) *note { w.Resume = []resume{{Stream: []byte{1}}}; return &note{Want: w} },
		"many streams":         func(w *want, l *lane) *note { w.Resume = make([]resume, insMax+1); return &note{Want: w} },
		"a nameless stream":    func(w *want, l *lane) *note { l.Stream = nil; return &note{Lane: l} },
		"a short salt":         func(w *want, l *lane) *note { w.Salt = w.Salt[1:]; return &note{Want: w} },
		"a gigabyte of window": func(w *want, l *lane) *note { l.Window, l.Datagrams = 65536, 16384; return &note{Lane: l} },
		"an odd window":        func(w *want, l *lane) *note { l.Window = 1000; return &note{Lane: l} },
		"datagrams of a byte":  func(w *want, l *lane) *note { l.Datagrams = 1; return &note{Lane: l} },
		"a lane of nobody":     func(w *want, l *lane) *note { l.Service = ""; return &note{Lane: l} },
		"a group that is none": func(w *want, l *lane) *note {
			l.Group = &group{To: l.From, Secret: make([]byte, 32), Public: make([]byte, 32), Chain: make([]byte, 32)}
			return &note{Lane: l}
		},
		"a group without a key": func(w *want, l *lane) *note { l.Group = &group{}; return &note{Lane: l} },
		"an epoch without one":  func(w *want, l *lane) *note { return &note{Epoch: &epoch{1, 1, nil}} },
		"a long excuse":         func(w *want, l *lane) *note { return &note{Refused: &refused{reason.OK, strings.Repeat("x", 600)}} },
	} {
		w, l := good()
		b, err := json.Marshal(edit(w, l))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := parseNote(b); reason.Of(err, reason.OK) != reason.FrameMalformed {
			t.Errorf("%s: %v", what, err)
		}
	}
	for what, b := range map[string][]byte{"a long note": {0, 0, 1, 0}, "a long datagram": {0, 0, 1, 0x80}, "a short datagram": {1, 0, 0, 0x80, 1}} {
		if _, _, err := readFrame(bytes.NewReader(append(b, make([]byte, 100)...))); reason.Of(err, reason.OK) != reason.FrameOversized {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func FuzzNote(f *testing.F) {
	w, l := good()
	for _, n := range []*note{{Want: w}, {Lane: l}, {Gone: &gone{1}}, {Epoch: &epoch{1, 2, make([]byte, 32)}}} {
		b, err := json.Marshal(n)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		n, err := parseNote(b)
		if err != nil {
			return
		}
		again, err := appendNote(nil, n)
		if err != nil {
			t.Skip() // longer in our words
		}
		if _, _, err := readFrame(bytes.NewReader(again)); err != nil {
			t.Fatalf("%q was taken and is refused as %q: %v", b, again, err)
		}
	})
}

// TestEveryKeyIsItsOwn for two lanes, two directions, two salts and two sessions.
func TestEveryKeyIsItsOwn(t *testing.T) {
	seen := map[[32]byte]string{}
	for session := range 2 {
		a, b := transport.Pipe("fire-bridge/1", transport.ClassOrder, transport.PipeEnd{}, transport.PipeEnd{})
		for salt := range byte(2) {
			for id := range uint32(2) {
				for what := range byte(6) {
					w, l := good()
					l.ID = id
					w.Salt[0], l.Salt = salt, bytes.Repeat([]byte{9}, saltBytes)
					mine, err := secretOf(a, w, l, what)
					theirs, terr := secretOf(b, w, l, what)
					if err != nil || terr != nil || mine != theirs {
						t.Fatal(err, terr)
					}
					if before, ok := seen[mine]; ok {
						t.Fatalf("session %d, salt %d, lane %d, key %d is that of %s", session, salt, id, what, before)
					}
					seen[mine] = "another"
				}
			}
		}
	}
}

func TestConfigSaysWhatIsWrong(t *testing.T) {
	c := Default()
	c.Check(func(key, problem string) { t.Errorf("%s: %s", key, problem) })
	c = Config{Lines: []string{"x", "0.0.0.0", "239.0.0.1"}, PortFirst: 5, PortLast: 4, DatagramBytes: 1, Window: 3, SpinMax: -1, BusyPoll: -1, PeersMax: 0}
	said := map[string]int{}
	c.Check(func(key, _ string) { said[key]++ })
	for key, n := range map[string]int{"lines": 4, "port_first": 1, "datagram_bytes": 1, "window": 1, "spin_max": 1, "busy_poll": 1, "peers_max": 1} {
		if said[key] != n {
			t.Errorf("%s is said %d times", key, said[key])
		}
	}
	c = Default()
	c.Window, c.DatagramBytes = 65536, 9000
	said = map[string]int{}
	c.Check(func(key, _ string) { said[key]++ })
	if said["window"] != 1 {
		t.Error("half a gigabyte for each lane is let through")
	}
	for bytes, window := range map[int]int{256: 256, 512: 128, 576: 128} { // the longest message never finds room
		c = Default()
		c.Window, c.DatagramBytes = window, bytes
		said = map[string]int{}
		c.Check(func(key, _ string) { said[key]++ })
		if said["window"] != 1 {
			t.Errorf("a window of %d datagrams of %d bytes is let through", window, bytes)
		}
		if w := c.callWindow(); w < udp.PacketsMost(bytes) {
			t.Errorf("calls have windows of %d datagrams of %d bytes", w, bytes)
		}
	}
}
