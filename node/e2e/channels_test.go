package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"fire/node/bridge"
	"fire/node/direct"
)

const channelFloor = `
[service.feed]
nodes = ["host-1"]
[service.reader]
nodes = ["host-1", "host-2"]

[channel.md]
kind = "broadcast"
publishers = ["feed"]
subscribers = ["reader"]

[channel.orders]
kind = "orders"
publishers = ["feed"]
subscribers = ["reader"]
size = "64KiB"

[channel.group]
kind = "broadcast"
publishers = ["feed"]
subscribers = ["reader"]
groups = ["239.192.7.7:17777"]
`

// TestChannelsGoFromHostToHost has two hosts with direct nodes, and programs that talk by
// the verbs that a person would try it with.
func TestChannelsGoFromHostToHost(t *testing.T) {
	all := hosts(t, 2)
	one, two := all[0], all[1]
	common := "\n[service.reader]\n[program.reader]\nusers = [\"root\"]\n"
	writeFile(t, one.dir, "mesh.toml", "[mesh]\nname = \"floor\"\nregion = \"eu\"\n[node]\nname = \"host-1\"\n[service.feed]\n[program.feed]\nusers = [\"root\"]\n"+common)
	writeFile(t, two.dir, "mesh.toml", common)
	writeFile(t, one.dir, "floor.toml", channelFloor)
	one.run("fire run --role control,direct --config mesh.toml").printed(20*time.Second, "linked to control")
	must := func(h *netns, script string) string {
		t.Helper()
		out, errs, code := finish(t, h.command(script))
		if code != 0 {
			t.Fatalf("%s on %s: exit %d\n%s%s", script, h.name, code, out, errs)
		}
		return out
	}
	waitFor(t, 20*time.Second, "the floor is applied", func() bool { _, _, code := finish(t, one.command("fire apply -f floor.toml")); return code == 0 })
	token := must(one, "fire token create --node host-2")
	if err := os.WriteFile(filepath.Join(two.dir, "join-token"), []byte(token), 0o600); err != nil {
		t.Fatal(err)
	}
	two.run("fire run --role direct --config mesh.toml --token file:join-token").printed(20*time.Second, "linked to control")

	const n = 20_000
	for _, ch := range []string{"orders", "md", "group"} {
		t.Run(ch, func(t *testing.T) {
			reader := two.run(fmt.Sprintf("fire channel subscribe %s --count %d > %s.out", ch, n, ch))
			waitFor(t, 20*time.Second, "host-2 asks for it", func() bool {
				return strings.Contains(must(one, "fire channel ls -o json"), "reader@host-2") || strings.Contains(must(one, "fire channel ls"), "reader@host-2")
			})
			// A pace that a broadcast's reader keeps up with; orders are held back by themselves.
			pace := "cat"
			if ch != "orders" {
				pace = `awk '{print; if (NR%200==0) {fflush(); system("sleep 0.005")}}'`
			}
			publisher := one.run(fmt.Sprintf(`sh -c "(seq 1 %d; sleep 2) | %s | fire channel publish %s --as feed"`, n, strings.ReplaceAll(strings.ReplaceAll(pace, "$", `\$`), `"`, `\"`), ch))
			var paths []direct.At[bridge.PathState]
			waitFor(t, 20*time.Second, "the path is told", func() bool {
				paths = jsonOf[[]direct.At[bridge.PathState]](t, must(two, "fire channel paths "+ch+" -o json"), "fire.channel.paths/v1")
				return len(paths) == 1 && paths[0].Value.Messages > 0
			})
			want := "udp"
			if ch == "group" {
				want = "multicast"
			}
			if p := paths[0].Value; p.Path != want || p.Node != "host-1" || p.Service != "feed" {
				t.Errorf("%+v", p)
			}
			waitFor(t, 30*time.Second, "everything is read", func() bool {
				select {
				case <-reader.done:
					return true
				default:
					return false
				}
			})
			<-publisher.done
			b, err := os.ReadFile(filepath.Join(two.dir, ch+".out"))
			if err != nil {
				t.Fatal(err)
			}
			lines := strings.Split(strings.TrimSpace(string(b)), "\n")
			if len(lines) != n {
				t.Fatalf("%d lines of %d", len(lines), n)
			}
			for i, l := range lines {
				if !strings.HasSuffix(l, fmt.Sprint(" ", i+1)) {
					t.Fatalf("line %d is %q", i+1, l)
				}
			}
		})
	}
	trail, err := os.ReadFile(filepath.Join(two.dir, "state", "direct", "events.jsonl"))
	if err != nil || !strings.Contains(string(trail), `"path_opened"`) || !strings.Contains(string(trail), `"node":"host-1"`) || !strings.Contains(string(trail), `"digest"`) {
		t.Errorf("the trail of host-2 lacks the path, its host or what came (%v):\n%.600s", err, trail)
	}
	if out := must(one, "fire edges"); !strings.Contains(out, "udp") && !strings.Contains(out, "multicast") {
		t.Errorf("edges:\n%s", out)
	}
}

// TestOrdersOutliveRestartsOfDirectNodes stops the reading host's, starts it again, kills the
// publishing host's and starts that again: no order is lost, none comes twice.
func TestOrdersOutliveRestartsOfDirectNodes(t *testing.T) {
	all := hosts(t, 2)
	one, two := all[0], all[1]
	writeFile(t, one.dir, "mesh.toml", "[mesh]\nname = \"floor\"\nregion = \"eu\"\n[node]\nname = \"host-1\"\n[service.feed]\n[program.feed]\nusers = [\"root\"]\n[service.reader]\n[program.reader]\nusers = [\"root\"]\n")
	writeFile(t, two.dir, "mesh.toml", "[service.reader]\n[program.reader]\nusers = [\"root\"]\n")
	writeFile(t, one.dir, "floor.toml", channelFloor)
	first := one.run("fire run --role control,direct --config mesh.toml")
	first.printed(20*time.Second, "linked to control")
	waitFor(t, 20*time.Second, "the floor is applied", func() bool { _, _, code := finish(t, one.command("fire apply -f floor.toml")); return code == 0 })
	token, errs, code := finish(t, one.command("fire token create --node host-2"))
	if code != 0 {
		t.Fatal(errs)
	}
	if err := os.WriteFile(filepath.Join(two.dir, "join-token"), []byte(token), 0o600); err != nil {
		t.Fatal(err)
	}
	second := two.run("fire run --role direct --config mesh.toml --token file:join-token")
	second.printed(20*time.Second, "linked to control")
	two.run("fire channel subscribe orders > orders.out")
	const n = 5000 // about six seconds
	publisher := one.run(fmt.Sprintf(`sh -c "seq 1 %d | awk '{print; if (NR%%10==0) {fflush(); system(\"sleep 0.01\")}}' | fire channel publish orders --as feed"`, n))
	read := func() []string {
		b, _ := os.ReadFile(filepath.Join(two.dir, "orders.out"))
		return strings.Split(strings.TrimSpace(string(b)), "\n")
	}
	waitFor(t, 20*time.Second, "orders come", func() bool { return len(read()) > 300 })
	if err := second.stop(); err != nil {
		t.Fatal(err)
	}
	two.run("fire run --role direct --config mesh.toml").printed(20*time.Second, "linked to control")
	waitFor(t, 20*time.Second, "orders come again", func() bool { return len(read()) > 1500 })
	first.kill()
	one.run("fire run --role control,direct --config mesh.toml").printed(20*time.Second, "linked to control")
	<-publisher.done
	waitFor(t, 30*time.Second, "the last one comes", func() bool { return strings.HasSuffix(read()[len(read())-1], fmt.Sprint(" ", n)) })
	for i, l := range read() {
		if !strings.HasSuffix(l, fmt.Sprint(" ", i+1)) {
			for _, h := range all {
				out, _, _ := finish(t, h.command(`grep -h '"path_\|"lost"' state/direct/events.jsonl || true`))
				t.Logf("%s tells:\n%s", h.name, out)
			}
			t.Fatalf("line %d is %q", i+1, l)
		}
	}
}

// TestDirectNodeStartsWhileControlIsDown has its catalogue from the signed copy on its disk: who
// may attach does, who may not is refused, and a cut by hand holds.
func TestDirectNodeStartsWhileControlIsDown(t *testing.T) {
	all := hosts(t, 2)
	one, two := all[0], all[1]
	writeFile(t, one.dir, "mesh.toml", "[mesh]\nname = \"floor\"\nregion = \"eu\"\n[node]\nname = \"host-1\"\n")
	programs := ""
	for _, s := range []string{"feed", "reader", "stranger"} {
		programs += fmt.Sprintf("[service.%s]\n[program.%s]\nusers = [\"root\"]\n", s, s)
	}
	writeFile(t, two.dir, "mesh.toml", programs)
	writeFile(t, one.dir, "floor.toml", `
[service.feed]
nodes = ["host-2"]
[service.reader]
nodes = ["host-2"]
[service.stranger]
nodes = ["host-2"]
[channel.md]
kind = "broadcast"
publishers = ["feed"]
subscribers = ["reader"]
`)
	control := one.run("fire run --role control --config mesh.toml")
	control.printed(20*time.Second, "runs as control")
	waitFor(t, 20*time.Second, "a token is made", func() bool {
		token, _, code := finish(t, one.command("fire token create --node host-2"))
		return code == 0 && os.WriteFile(filepath.Join(two.dir, "join-token"), []byte(token), 0o600) == nil
	})
	first := two.run("fire run --role direct --config mesh.toml --token file:join-token")
	first.printed(20*time.Second, "linked to control")
	waitFor(t, 20*time.Second, "the floor is applied", func() bool { _, _, code := finish(t, one.command("fire apply -f floor.toml")); return code == 0 })
	waitFor(t, 20*time.Second, "host-2 has the floor", func() bool {
		out, _, _ := finish(t, two.command("fire channel ls"))
		return strings.Contains(out, "md")
	})
	control.kill()
	if err := first.stop(); err != nil {
		t.Fatal(err)
	}
	two.run("fire run --role direct --config mesh.toml")
	waitFor(t, 20*time.Second, "it answers", func() bool {
		out, _, code := finish(t, two.command("fire channel ls"))
		return code == 0 && strings.Contains(out, "md")
	})
	reader := two.run("fire channel subscribe md --as reader --count 3")
	waitFor(t, 20*time.Second, "it is attached", func() bool {
		out, _, _ := finish(t, two.command("fire channel ls"))
		return strings.Contains(out, "reader(")
	})
	out, errs, code := finish(t, two.command(`sh -c "(printf 'a\nb\nc\n'; sleep 1) | fire channel publish md --as feed"`))
	if code != 0 {
		t.Errorf("%s%s", out, errs)
	}
	select {
	case <-reader.done:
	case <-time.After(20 * time.Second):
	}
	if got := reader.output(); !strings.Contains(got, "feed 1 a\nfeed 1 b\nfeed 1 c") {
		t.Errorf("the reader has %q", got)
	}
	if _, errs, code := finish(t, two.command("fire channel subscribe md --as stranger")); code != 1 || !strings.Contains(errs, "denied_by_default") {
		t.Errorf("exit %d: %s", code, errs)
	}
	if _, errs, code := finish(t, two.command("fire channel revoke md --why drill")); code != 0 {
		t.Error(errs)
	}
	if _, errs, code := finish(t, two.command("fire channel subscribe md --as reader")); code != 1 || !strings.Contains(errs, "channel_revoked") {
		t.Errorf("exit %d: %s", code, errs)
	}
}
