package policy

import (
	"strings"
	"testing"

	"fire/policy/id"
	"fire/policy/reason"
)

func testChannel() Channel {
	c := DefaultChannel()
	c.Kind, c.Publishers, c.Subscribers = Orders, []string{"strategy"}, []string{"gateway"}
	return c
}

func TestChannelSaysEverythingThatIsWrong(t *testing.T) {
	testChannel().Check("orders", func(field, text string) { t.Errorf("%s: %s", field, text) })
	c := Channel{Kind: "order", Publishers: []string{"a", "a"}, Size: 1, Wait: "spn", Audit: "all", Keep: -1, Description: strings.Repeat("x", 513)}
	said := map[string]string{}
	c.Check("No", func(field, text string) { said[field] += text })
	for field, want := range map[string]string{
		"": "No", "kind": `did you mean "orders"?`, "publishers": "twice", "subscribers": "empty", "size": "1B is not 4KiB to 4GiB",
		"wait": `did you mean "spin"?`, "audit": "digest-all", "keep": "0s to 1h", "description": "512",
	} {
		if !strings.Contains(said[field], want) {
			t.Errorf("%s: %q does not say %q", field, said[field], want)
		}
	}
	if len(said) != 9 {
		t.Errorf("%v", said)
	}
	c = testChannel()
	c.Kind, c.Subscribers = RPC, []string{"a", "b"}
	c.Check("x", func(field, text string) {
		if field != "subscribers" || !strings.Contains(text, "one, its server") {
			t.Errorf("%s: %s", field, text)
		}
	})
	c.Subscribers, c.Wait = []string{"a"}, WaitPoll
	n := 0
	c.Check("x", func(field, text string) {
		if n++; field != "wait" || !strings.Contains(text, "not for an rpc channel") {
			t.Errorf("%s: %s", field, text)
		}
	})
	if n != 1 {
		t.Errorf("an rpc channel for poll loops: %d problems", n)
	}
	c.Kind, c.Groups, c.Tagged, c.Snapshot = Broadcast, []string{"239.192.0.1:7500", "239.192.0.2:7500"}, []string{"a"}, 9
	c.Check("x", func(field, text string) { t.Errorf("%s: %s", field, text) })
	if a := c.GroupAddresses(); len(a) != 2 || a[1].Port() != 7500 {
		t.Errorf("groups %v", a)
	}
	c.Groups, c.Tagged = []string{"10.0.0.1:1", "239.192.0.1", "x"}, []string{"b"}
	said = map[string]string{}
	c.Check("x", func(field, text string) { said[field] += text + "; " })
	for field, wants := range map[string][]string{"groups": {"two lines", `"10.0.0.1:1" is no IPv4 multicast`, `"239.192.0.1" is no`, `"x" is no`}, "tagged": {"none of the subscribers"}} {
		for _, want := range wants {
			if !strings.Contains(said[field], want) {
				t.Errorf("%s: %q does not say %q", field, said[field], want)
			}
		}
	}
	c.Kind, c.Groups, c.Tagged, c.Wait = Orders, []string{"239.192.0.1:1"}, []string{"a"}, WaitSpin
	said = map[string]string{}
	c.Check("x", func(field, text string) { said[field] = text })
	if len(said) != 2 || said["groups"] == "" || said["tagged"] == "" {
		t.Errorf("orders with groups and tags: %v", said)
	}
}

func TestOnlyListedServicesOfTheMeshAttach(t *testing.T) {
	table, problems := Compile("floor", nil)
	if problems != nil {
		t.Fatal(problems)
	}
	d := id.Domain{Region: "eu", Mesh: "floor"}
	for _, c := range []struct {
		who     id.Principal
		side    Side
		allowed bool
	}{
		{d.Service("strategy"), Publish, true},
		{d.Service("strategy"), Subscribe, false},
		{d.Service("gateway"), Subscribe, true},
		{d.Service("gateway"), Publish, false},
		{d.Service("blotter"), Subscribe, false},
		{d.Node("strategy"), Publish, false},
		{id.Domain{Region: "eu", Mesh: "other"}.Service("strategy"), Publish, false},
		{d.Service("strategy"), 0, false},
		{d.Service("gateway"), 3, false},
	} {
		v := table.Attach("orders", testChannel(), c.who, c.side)
		if v.Allowed != c.allowed || c.allowed != (v.Rule == "channel.orders") || !c.allowed && v.Code != reason.DeniedByDefault {
			t.Errorf("%v %v: %+v", c.who, c.side, v)
		}
	}
}

func TestOnlyDenyRulesKeepAPairApart(t *testing.T) {
	d := id.Domain{Region: "eu", Mesh: "floor"}
	table, problems := Compile("floor", map[string]Rule{
		"no-orders": {Action: Deny, From: []string{"strategy"}, To: []string{"gateway"}, Ports: []uint16{9000}},
		"no-pages":  {Action: Deny, From: []string{"strategy"}, To: []string{"blotter"}, Methods: []string{"POST"}},
	})
	if problems != nil {
		t.Fatal(problems)
	}
	if v := table.Pair("x", d.Service("strategy"), d.Service("gateway")); v.Allowed || v.Rule != "no-orders" || v.Code != reason.DeniedByRule {
		t.Errorf("%+v", v)
	}
	for _, to := range []string{"blotter", "risk"} { // rules for requests say nothing of channels
		if v := table.Pair("x", d.Service("strategy"), d.Service(to)); !v.Allowed || v.Rule != "channel.x" {
			t.Errorf("%s: %+v", to, v)
		}
	}
}

func TestSizesReadAndWriteTheirUnits(t *testing.T) {
	for text, want := range map[string]Size{"0B": 0, "100B": 100, "4KiB": 4096, "64MiB": 64 << 20, "4GiB": 4 << 30, "1025B": 1025} {
		var s Size
		if err := s.UnmarshalText([]byte(text)); err != nil || s != want || s.String() != text {
			t.Errorf("%s: %d, %v, %s", text, s, err, s)
		}
	}
	for _, text := range []string{"", "B", "4", "4K", "4MB", "4 MiB", "-1B", "1.5MiB", "iB", "KiB", "4TiB", "99999999999GiB"} {
		s := Size(7)
		if err := s.UnmarshalText([]byte(text)); err == nil || s != 7 {
			t.Errorf("%q is taken for %d", text, s)
		}
	}
}
