package catalog

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"io"
	"reflect"
	"runtime"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"fire/policy/reason"
	"fire/twin"
)

var goodMessages = []NodeMessage{
	{Hello: &Hello{Protocol: 1, Addr: "127.0.0.2:7000", Release: "1.2.3", Zone: "a", Roles: []string{"proxy"}, Time: epoch0, NotAfter: epoch0,
		Claims: []Claim{{Service: "orders", Epoch: 3, Healthy: true}}, Have: Head{Version: 7, Digest: Digest{1}}}},
	{Renew: &Renew{Leases: []Lease{{"orders", 3}}, Time: epoch0, NotAfter: epoch0}},
	{Register: &Claim{Service: "orders"}},
	{Withdraw: &Lease{"orders", 3}},
	{Health: &Health{Lease: Lease{"orders", 3}, Why: "connection refused"}},
	{Drain: &Drain{On: true}},
	{Ack: &Ack{Version: 4, Stage: Rejected, Code: reason.ConfigRejected, Took: 1.5}},
	{Resync: &Resync{Why: "digest"}},
	{Log: &Log{Level: "warn", Text: "disk is slow"}},
}

func TestMessagesReadBackAsWritten(t *testing.T) {
	var b bytes.Buffer
	for i := range goodMessages {
		if err := goodMessages[i].Check(); err != nil {
			t.Fatal(err)
		}
		if err := WriteMessage(&b, ToControlBytesMax, &goodMessages[i]); err != nil {
			t.Fatal(err)
		}
	}
	r := iotest.OneByteReader(&b)
	for _, want := range goodMessages {
		var got NodeMessage
		if err := ReadMessage(r, ToControlBytesMax, &got); err != nil || !reflect.DeepEqual(got, want) {
			t.Fatalf("got %+v, %v; want %+v", got, err, want)
		}
	}
	if err := ReadMessage(r, ToControlBytesMax, new(NodeMessage)); err != io.EOF {
		t.Fatalf("at the end: %v", err)
	}
}

func TestHelloOpensAWatchAndARequestOpensAnRPC(t *testing.T) {
	var b bytes.Buffer
	WriteMessage(&b, ToControlBytesMax, goodMessages[0])
	WriteMessage(&b, ToControlBytesMax, Request{Issue: &IssueRequest{Principal: domain.Node("h1"), CSR: []byte{1}}})
	WriteMessage(&b, ToControlBytesMax, Request{Inspect: &InspectRequest{Method: "GET", Path: "/status"}})
	var hello, issue, inspect Opening
	for _, o := range []*Opening{&hello, &issue, &inspect} {
		if err := errors.Join(ReadMessage(&b, ToControlBytesMax, o), o.Check()); err != nil {
			t.Fatal(err)
		}
	}
	if hello.Hello == nil || issue.Issue == nil || inspect.Inspect == nil {
		t.Fatalf("%+v %+v %+v", hello, issue, inspect)
	}
	wantCode(t, (&Opening{}).Check(), reason.FrameMalformed)
	wantCode(t, (&Opening{Hello: hello.Hello, Request: issue.Request}).Check(), reason.FrameMalformed)
}

// endless never stops; it counts what was taken.
type endless struct{ taken int }

func (e *endless) Read(p []byte) (int, error) { e.taken += len(p); return len(p), nil }

func TestReadMessageRefusesBeforeItDecodes(t *testing.T) {
	frame := func(n uint32, body string) io.Reader {
		return strings.NewReader(string(binary.BigEndian.AppendUint32(nil, n)) + body)
	}
	for name, tc := range map[string]struct {
		r    io.Reader
		code reason.Code
	}{
		"empty message":      {frame(0, ""), reason.FrameMalformed},
		"length beyond":      {frame(1<<30, "x"), reason.FrameOversized},
		"cut in the length":  {strings.NewReader("\x00\x00"), reason.FrameTruncated},
		"cut in the body":    {frame(9, "{}"), reason.FrameTruncated},
		"no JSON":            {frame(3, "{]}"), reason.FrameMalformed},
		"two JSON values":    {frame(4, "{}{}"), reason.FrameMalformed},
		"deep nesting":       {frame(40_000, strings.Repeat("[", 40_000)), reason.FrameMalformed},
		"wrong type of time": {frame(27, `{"hello":{"protocol":"one"}}`[:27]), reason.FrameMalformed},
	} {
		t.Run(name, func(t *testing.T) {
			wantCode(t, ReadMessage(tc.r, ToControlBytesMax, new(NodeMessage)), tc.code)
		})
	}
	e := &endless{}
	if err := ReadMessage(io.MultiReader(frame(1<<30, ""), e), ToControlBytesMax, new(NodeMessage)); err == nil || e.taken > 0 {
		t.Fatalf("%d bytes of a gigabyte were read: %v", e.taken, err)
	}
	wantCode(t, WriteMessage(io.Discard, 10, goodMessages[0]), reason.FrameOversized)
}

func TestCheckRefusesWhatNoNodeMaySay(t *testing.T) {
	long := strings.Repeat("x", TextBytes+1)
	bad := []NodeMessage{
		{},
		{Renew: &Renew{}, Drain: &Drain{}},
		{Hello: &Hello{Protocol: 0, Addr: "h:1"}},
		{Hello: &Hello{Protocol: 1, Addr: "nowhere"}},
		{Hello: &Hello{Protocol: 1, Addr: ":1"}},
		{Hello: &Hello{Protocol: 1, Addr: "h:0"}},
		{Hello: &Hello{Protocol: 1, Addr: "h:1", Roles: make([]string, RolesMax+1)}},
		{Hello: &Hello{Protocol: 1, Addr: "h:1", Claims: make([]Claim, ClaimsMax+1)}},
		{Hello: &Hello{Protocol: 1, Addr: "h:1", Zone: "../x"}},
		{Register: &Claim{Service: "Orders"}},
		{Register: &Claim{Service: "orders", Weight: -1}},
		{Register: &Claim{Service: "orders", Weight: WeightMax + 1}},
		{Register: &Claim{Service: "orders", Why: long}},
		{Withdraw: &Lease{Service: "a@b"}},
		{Renew: &Renew{Leases: make([]Lease, ClaimsMax+1)}},
		{Renew: &Renew{Leases: []Lease{{Service: ""}}}},
		{Health: &Health{Lease: Lease{Service: "orders"}, Why: "\xff"}},
		{Drain: &Drain{Service: "a b"}},
		{Ack: &Ack{Stage: "perhaps"}},
		{Log: &Log{Text: long}},
	}
	for _, m := range bad {
		if err := m.Check(); err == nil {
			b, _ := json.Marshal(m)
			t.Errorf("%.200s passed", b)
		}
	}
	if err := (&JoinRequest{TokenID: "a", Node: "h1", Addr: "h1:7000"}).Check(); err != nil {
		t.Error(err)
	}
	for _, j := range []JoinRequest{{Node: "H1"}, {Addr: "x"}, {Secret: make([]byte, 129)}, {CSR: make([]byte, 1<<15)}, {TokenID: long}} {
		if j.Check() == nil {
			t.Errorf("%.80v passed", j)
		}
	}
}

func FuzzReadMessage(f *testing.F) {
	for i := range goodMessages {
		b, _ := AppendMessage(nil, ToControlBytesMax, goodMessages[i])
		f.Add(b)
	}
	f.Add([]byte("\x00\x00\x00\x02{}"))
	f.Add([]byte("\xff\xff\xff\xff"))
	f.Fuzz(func(t *testing.T, b []byte) {
		var m NodeMessage
		if err := ReadMessage(bytes.NewReader(b), ToControlBytesMax, &m); err == nil && m.Check() == nil {
			again, err := AppendMessage(nil, ToControlBytesMax, &m)
			if err != nil {
				t.Fatalf("an accepted message cannot be written: %v", err)
			}
			var n NodeMessage
			if err := ReadMessage(bytes.NewReader(again), ToControlBytesMax, &n); err != nil {
				t.Fatalf("an accepted message cannot be read back: %v", err)
			}
		}
		var c ControlMessage
		if err := ReadMessage(bytes.NewReader(b), ToNodeBytesMax, &c); err == nil && c.Delta != nil && c.Delta.Delta != nil {
			c.Delta.Delta.Apply(&State{})
		}
		var j JoinRequest
		if err := ReadMessage(bytes.NewReader(b), JoinBytesMax, &j); err == nil {
			j.Check()
		}
	})
}

func TestClipEndsAtARune(t *testing.T) {
	if s := clip(strings.Repeat("x", TextBytes-1) + "é"); len(s) != TextBytes-1 {
		t.Fatalf("%d bytes", len(s))
	}
}

func TestDurationIsTextAndNeverABareNumber(t *testing.T) {
	b, err := json.Marshal(Welcome{LeaseFor: Duration(3 * time.Second)})
	if err != nil || !strings.Contains(string(b), `"lease_for":"3s"`) {
		t.Fatalf("%s, %v", b, err)
	}
	var d Duration
	for _, s := range []string{"5", "", "3 s", "soon"} {
		if d.UnmarshalText([]byte(s)) == nil {
			t.Errorf("%q was read as %v", s, d)
		}
	}
}

// TestSmallMessageNeverCostsMuchMemory: two bytes of JSON may stand for a list's element
// of hundreds, so a megabyte must not become a quarter of a gigabyte. The limits of
// Check come too late for that: they see what has been decoded.
func TestSmallMessageNeverCostsMuchMemory(t *testing.T) {
	const times = 24 // bytes of memory per byte of the message, garbage included
	fill := func(head, element, tail string) []byte {
		n := (ToControlBytesMax - len(head) - len(tail)) / len(element)
		body := head + strings.TrimSuffix(strings.Repeat(element, n), ",") + tail
		return append(binary.BigEndian.AppendUint32(nil, uint32(len(body))), body...)
	}
	for name, b := range map[string][]byte{
		"claims":          fill(`{"hello":{"claims":[`, `{},`, `]}}`),
		"numbers":         fill(`{"report":{"edges":[`, `0,`, `]}}`),
		"nulls":           fill(`{"report":{"edges":[`, `null,`, `]}}`),
		"lists":           fill(`{"report":{"edges":[`, `[],`, `]}}`),
		"sessions":        fill(`{"report":{"sessions":[`, `{},`, `]}}`),
		"leases":          fill(`{"renew":{"leases":[`, `{},`, `]}}`),
		"roles":           fill(`{"hello":{"roles":[`, `"",`, `]}}`),
		"behind a string": fill(`{"log":{"text":"]\"\\"},"report":{"edges":[`, `{},`, `]}}`),
		"deep":            fill(`{"x":`, `[`, ``),
	} {
		var m NodeMessage
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		err := ReadMessage(bytes.NewReader(b), ToControlBytesMax, &m)
		runtime.ReadMemStats(&after)
		if used := after.TotalAlloc - before.TotalAlloc; used > times*ToControlBytesMax {
			t.Errorf("%s: %d bytes cost %d MiB", name, len(b), used>>20)
		}
		if err == nil {
			t.Errorf("%s: passed", name)
		}
	}
}

func TestLargestHonestMessagesAreRead(t *testing.T) {
	r := &Renew{Leases: make([]Lease, ClaimsMax)}
	h := &Hello{Protocol: 1, Addr: "h:1", Claims: make([]Claim, ClaimsMax)}
	report := &twin.Report{Edges: make([]twin.EdgeDelta, 4096)}
	for i := range report.Edges {
		report.Edges[i].Src = "a,[{\"" // names are not this test's matter
	}
	for _, m := range []NodeMessage{{Renew: r}, {Hello: h}, {Report: report}} {
		var got NodeMessage
		if b, err := AppendMessage(nil, ToControlBytesMax, m); err != nil {
			t.Error(err)
		} else if err := ReadMessage(bytes.NewReader(b), ToControlBytesMax, &got); err != nil {
			t.Error(err)
		}
	}
	whole := ControlMessage{Delta: &Signed{Delta: &Delta{Endpoints: Change[Endpoint]{Delete: make([]string, 100_000)}}}}
	if b, err := AppendMessage(nil, ToNodeBytesMax, whole); err != nil {
		t.Error(err)
	} else if err := ReadMessage(bytes.NewReader(b), ToNodeBytesMax, &whole); err != nil {
		t.Error(err)
	}
}
