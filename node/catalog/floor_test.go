package catalog

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"fire/policy"

	"github.com/BurntSushi/toml"
)

const goodFloor = `# the floor
[service.orders]
protocol = "fix"
port = 9001
nodes = ["h1", "h2"]
balance = "round_robin"
class = "order"
eject_after = 0
eject_for = "250ms"
eject_max = "5s"
description = "order gateway"

[service.risk]
protocol = "http"
port = 8080
nodes = [
	"h1", # first
	"h3",
]

[policy.orders-risk]
from = ["orders"]
to = ["risk"]
methods = ["POST"]
paths = ["/v1/*"]

[policy.no-way]
action = "deny"
from = ["*"]
to = ["orders"]
ports = [9001]

[channel.md]
kind = "broadcast"
publishers = ["orders"]
subscribers = ["risk", "orders"]
size = "64KiB"
wait = "spin"
audit = "sample"
keep = "1s"
description = "fills"

[channel.plain]
kind = "orders"
publishers = ["risk"]
subscribers = ["orders"]
`

func TestParseFloorReadsEveryKeyAndFillsDefaults(t *testing.T) {
	f, problems := ParseFloor("floor.toml", []byte(goodFloor))
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	want := Floor{
		Services: map[string]Service{
			"orders": {Protocol: FIX, Port: 9001, Nodes: []string{"h1", "h2"}, Balance: RoundRobin, Class: Order,
				EjectFor: Duration(250 * time.Millisecond), EjectMax: Duration(5 * time.Second), Description: "order gateway"},
			"risk": {Protocol: HTTP, Port: 8080, Nodes: []string{"h1", "h3"}, Balance: PeakEWMA, Class: Order,
				EjectAfter: 5, EjectFor: Duration(time.Second), EjectMax: Duration(time.Minute)},
		},
		Policies: map[string]policy.Rule{
			"orders-risk": {Action: policy.Allow, From: []string{"orders"}, To: []string{"risk"}, Methods: []string{"POST"}, Paths: []string{"/v1/*"}},
			"no-way":      {Action: policy.Deny, From: []string{"*"}, To: []string{"orders"}, Ports: []uint16{9001}},
		},
		Channels: map[string]policy.Channel{
			"md": {Kind: policy.Broadcast, Publishers: []string{"orders"}, Subscribers: []string{"risk", "orders"}, Size: 64 << 10,
				Wait: policy.WaitSpin, Audit: policy.AuditSample, Keep: Duration(time.Second), Description: "fills"},
			"plain": {Kind: policy.Orders, Publishers: []string{"risk"}, Subscribers: []string{"orders"}, Size: 4 << 20,
				Wait: policy.WaitAdaptive, Audit: policy.AuditAll, Keep: Duration(5 * time.Second)},
		},
	}
	if !reflect.DeepEqual(f, want) {
		t.Fatalf("got  %+v\nwant %+v", f, want)
	}
	if f, problems := ParseFloor("empty.toml", nil); len(problems) > 0 || f.Services == nil {
		t.Fatalf("an empty floor: %v", problems)
	}
}

func TestParseFloorTellsEveryProblemAtItsLine(t *testing.T) {
	const text = `[service.orders]
protocl = "fix"
Port = 9001
port = 70000
nodes = "h1"
eject_for = 5
eject_max = "5"
balance = "peak-ewma"
class = 3
[service.risk]
nodes = ["h1", "h1", "H2"]
[service.Bad_Name]
nodes = ["h1"]
[policy.in]
action = "alow"
from = ["order"]
to = ["risk"]
paths = ["/x"]
[policy]
loose = 3
[servce.x]
port = 1
[channel.md]
kind = "order"
publishers = ["rsk"]
size = 4096
subscribers = ["risk"]
`
	_, problems := ParseFloor("floor.toml", []byte(text))
	var got []string
	for _, p := range problems {
		got = append(got, p.String())
	}
	want := []string{
		`floor.toml:2: service.orders.protocl: unknown key; did you mean "protocol"?`,
		`floor.toml:3: service.orders.Port: unknown key; did you mean "port"?`,
		`floor.toml:4: service.orders.port: 70000 is not 0 to 65535`,
		`floor.toml:5: service.orders.nodes: want a list of strings, not a string`,
		`floor.toml:6: service.orders.eject_for: want text with a unit, as "250ms" or "3s", not an integer 5`,
		`floor.toml:7: service.orders.eject_max: duration "5": want a number with a unit, as "250ms" or "3s"`,
		`floor.toml:8: service.orders.balance: "peak-ewma" is none of round_robin, least_request, peak_ewma; did you mean "peak_ewma"?`,
		`floor.toml:9: service.orders.class: want a string, not an integer`,
		`floor.toml:11: service.risk.nodes: "h1" stands twice`,
		`floor.toml:11: service.risk.nodes: name "H2": only a-z, 0-9 and inner '-' are allowed`,
		`floor.toml:12: service.Bad_Name: name "Bad_Name": only a-z, 0-9 and inner '-' are allowed`,
		`floor.toml:15: policy.in.action: "alow" is neither "allow" nor "deny"; did you mean "allow"?`,
		`floor.toml:16: policy.in.from: no service "order" is declared; did you mean "orders"?`,
		`floor.toml:17: policy.in.to: the rule names methods or paths, and service "risk" speaks tcp, not http`,
		`floor.toml:20: policy.loose: want a table [policy.loose], not an integer`,
		`floor.toml:21: servce: unknown table; a floor has [service.NAME], [policy.NAME] and [channel.NAME]; did you mean "service"?`,
		`floor.toml:24: channel.md.kind: "order" is none of orders, broadcast, rpc; did you mean "orders"?`,
		`floor.toml:25: channel.md.publishers: no service "rsk" is declared; did you mean "risk"?`,
		`floor.toml:26: channel.md.size: want text with a unit, as "64KiB" or "4MiB", not an integer 4096`,
	}
	if !slices.Equal(got, want) {
		t.Fatalf("got:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if e := problems[0].Excerpt; e != "protocl = \"fix\"\n^^^^^^^" {
		t.Fatalf("excerpt:\n%s", e)
	}
}

func TestParseFloorRefusesWhatTOMLRefuses(t *testing.T) {
	for text, line := range map[string]int{
		"[service.a]\nnodes = [\"h1\"]\nnodes = [\"h2\"]\n":  3,
		"[service.a]\nnodes = [\"h1\"\n[service.b]\n":        0,
		"[service.a]\n[service.a]\n":                         2,
		"= 3":                                                1,
		"[[service.a]]\nport = 1\n[[service.a]]\nport = 2\n": -1,
	} {
		_, problems := ParseFloor("f", []byte(text))
		if len(problems) == 0 || line > 0 && problems[0].Line != line {
			t.Errorf("%q: %v; want a problem at line %d", text, problems, line)
		}
	}
	if _, problems := ParseFloor("f", make([]byte, FloorBytesMax+1)); len(problems) != 1 {
		t.Errorf("an oversized floor: %v", problems)
	}
}

func TestManyProblemsAreBounded(t *testing.T) {
	var b strings.Builder
	b.WriteString("[service.a]\nnodes = [\"h1\"]\n")
	for i := range 10 * problemsMax {
		fmt.Fprintf(&b, "unknown%d = 1\n", i)
	}
	_, problems := ParseFloor("f", []byte(b.String()))
	if n := len(problems); n != problemsMax+1 || !strings.Contains(problems[n-1].Text, "900 more") {
		t.Fatalf("%d problems, the last %v", n, problems[n-1])
	}
}

func TestLocateFindsKeysInEveryFormOfTOML(t *testing.T) {
	const text = "a.b = 1\n[ t . \"q\" ]\nm = \"\"\"\nx = 1\n\"\"\"\"\nk = {in = 1, o.p = [1, {z=2}]} # c = 1\nl = '[x]'\nlast = 1979-05-27 07:32:00\n"
	at := locate(text)
	for key, line := range map[string]int{"a": 1, "a.b": 1, "t.q": 2, "t.q.m": 3, "t.q.k": 6, "t.q.k.in": 6, "t.q.k.o.p": 6,
		"t.q.k.o.p.z": 6, "t.q.l": 7, "t.q.last": 8} {
		if at[key].line != line {
			t.Errorf("%s is at %+v, want line %d", key, at[key], line)
		}
	}
	if len(at) != 12 {
		t.Errorf("%d keys: %v", len(at), sortedKeys(at))
	}
}

func FuzzParseFloor(f *testing.F) {
	f.Add(goodFloor)
	f.Add("[service.a]\nnodes=[\"h\"]\n\"q k\" = '''\n''' \nx.y = {a=1,b=[{}]}\n")
	f.Add("[[service.a]]\n[policy.b]\nfrom=[1]\nx = 07:32:00 # c\n")
	f.Fuzz(func(t *testing.T, s string) {
		got, problems := ParseFloor("f", []byte(s))
		for _, p := range problems {
			_ = p.String()
		}
		if len(problems) == 0 && len(got.Problems()) > 0 {
			t.Fatalf("parsed without a problem, but has %v", got.Problems())
		}
		var tree map[string]any
		md, err := toml.Decode(s, &tree)
		at := locate(s) // must end and not panic on anything
		if err != nil || strings.ContainsAny(s, `"'\`) {
			return
		}
		for _, k := range md.Keys() {
			if _, ok := at[strings.Join(k, ".")]; !ok {
				t.Fatalf("key %v of %q was not located: %v", k, s, at)
			}
		}
	})
}
