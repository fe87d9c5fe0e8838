package check

import (
	"errors"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"fire/node/admin"
)

var now = time.Date(2026, 11, 2, 12, 0, 0, 0, time.UTC)

// healthy is a floor on which every check is ok.
func healthy() *Facts {
	cert := admin.CertInfo{ID: "spiffe://eu.floor/node/h1", NotBefore: now.Add(-time.Hour), NotAfter: now.Add(23 * time.Hour), RenewAt: now.Add(11 * time.Hour)}
	node := func(name, addr string, roles ...string) admin.NodeStatus {
		return admin.NodeStatus{Node: name, Address: addr, Release: "1", Roles: roles, State: "SYNCED", Linked: true, Version: 9, ApplyMS: 2, CertExpires: cert.NotAfter}
	}
	return &Facts{
		Now: now,
		Host: Host{OS: "linux", CPUs: 4, OpenFilesSoft: 1 << 20, OpenFilesHard: 1 << 20, RmemMaxBytes: 8 << 20, WmemMaxBytes: 8 << 20,
			ListenQueueMax: 4096, LocalPorts: 28232, MemFreeBytes: 4 << 30, MemBytes: 8 << 30, Dir: "/var/lib/fire", DirMode: 0o700,
			DirFreeBytes: 9 << 30, RuntimeDir: "/run/fire", ClockSynced: 1, ClockMaxError: time.Millisecond, ClockSource: "tsc"},
		ConfigPath: "/etc/fire/mesh.toml", ConfigDigest: "sha256:1",
		Info: &admin.Info{Node: "h1", Version: 9, Roles: []string{"proxy"}, Linked: true, ConfigPath: "/etc/fire/mesh.toml", ConfigDigest: "sha256:1",
			MapURL: "http://127.0.0.1:7480/", Listeners: []admin.Listener{{Purpose: "mesh", Address: "0.0.0.0:7400"}},
			Certificates: []admin.CertInfo{cert}, MaxProcs: 4, OpenFilesMax: 1 << 20},
		Status: &admin.Status{Version: 9, FloorVersion: 1, Source: "control", Nodes: []admin.NodeStatus{node("h1", "10.0.0.1:7400", "proxy"), node("c1", "10.0.0.2:7400", "control")}},
		Services: []admin.Service{{Service: "orders", Port: 9000, Placed: []string{"h1", "h2"}, Endpoints: []admin.Endpoint{
			{Node: "h1", Linked: true, Healthy: true}, {Node: "h2", Linked: true, Healthy: true}}}},
		Edges: []admin.Edge{{Src: "a", Dst: "orders", State: "ok", Secured: true, RequestsTotal: 5}},
		CA:    &admin.CA{Roots: []admin.RootInfo{{Active: true, NotAfter: now.Add(3650 * 24 * time.Hour)}}},
	}
}

// TestEachFaultIsFoundByItsCheckAlone breaks one thing at a time. Every check stands here.
func TestEachFaultIsFoundByItsCheckAlone(t *testing.T) {
	rows := []struct {
		code  string
		state State
		spoil func(*Facts)
	}{
		{"FIRE-HOST-001", Fail, func(f *Facts) { f.Host.OS = "plan9" }},
		{"FIRE-HOST-002", Fail, func(f *Facts) { f.Info.OpenFilesMax = 1024 }},
		{"FIRE-HOST-002", Warn, func(f *Facts) { f.Info.OpenFilesMax = 8192 }},
		{"FIRE-HOST-003", Warn, func(f *Facts) { f.Host.RmemMaxBytes = 212992 }},
		{"FIRE-HOST-004", Warn, func(f *Facts) { f.Host.WmemMaxBytes = 212992 }},
		{"FIRE-HOST-005", Warn, func(f *Facts) { f.Host.ListenQueueMax = 128 }},
		{"FIRE-HOST-006", Warn, func(f *Facts) { f.Host.LocalPorts = 100 }},
		{"FIRE-HOST-007", Fail, func(f *Facts) { f.Host.MemFreeBytes = 1 << 20 }},
		{"FIRE-HOST-007", Warn, func(f *Facts) { f.Host.MemFreeBytes = 128 << 20 }},
		{"FIRE-HOST-008", Warn, func(f *Facts) { f.Host.SwapUsedBytes = 1 << 30 }},
		{"FIRE-HOST-009", Fail, func(f *Facts) { f.Host.DirMode = 0o755 }},
		{"FIRE-HOST-009", Warn, func(f *Facts) { f.Host.DirErr = "gone" }},
		{"FIRE-HOST-010", Fail, func(f *Facts) { f.Host.DirFreeBytes = 1 }},
		{"FIRE-HOST-010", Warn, func(f *Facts) { f.Host.DirFreeBytes = 500 << 20 }},
		{"FIRE-HOST-011", Warn, func(f *Facts) { f.Host.RuntimeDirErr = "is no folder" }},
		{"FIRE-HOST-012", Fail, func(f *Facts) { f.Host.LoopbackUDPErr = "forbidden" }},
		{"FIRE-CLOCK-001", Warn, func(f *Facts) { f.Host.ClockSynced = 0 }},
		{"FIRE-CLOCK-002", Warn, func(f *Facts) { f.Host.ClockMaxError = time.Second }},
		{"FIRE-CLOCK-003", Warn, func(f *Facts) { f.Host.ClockSource = "hpet" }},
		{"FIRE-CLOCK-004", Warn, func(f *Facts) { f.Info.ClockSkewMS = -1500 }},
		{"FIRE-CLOCK-004", Fail, func(f *Facts) { f.Info.ClockSkewMS = 300_000 }},
		{"FIRE-CLOCK-005", Fail, func(f *Facts) { f.Status.Nodes[1].ClockSkewMS = -300_000 }},
		{"FIRE-CONFIG-001", Fail, func(f *Facts) { f.ConfigProblems = []string{"mesh.toml:1:1: x"} }},
		{"FIRE-CONFIG-002", Warn, func(f *Facts) { f.ConfigDigest = "sha256:2" }},
		{"FIRE-CONFIG-003", Warn, func(f *Facts) { f.Info.MapURL = "http://10.0.0.1:7480/" }},
		{"FIRE-CONFIG-004", Fail, func(f *Facts) { f.Info.Listeners = nil }},
		{"FIRE-IDENTITY-001", Fail, func(f *Facts) { f.Info.Certificates = nil }},
		{"FIRE-IDENTITY-002", Fail, func(f *Facts) { f.Info.Certificates[0].NotBefore = now.Add(time.Minute) }},
		{"FIRE-IDENTITY-002", Fail, func(f *Facts) { f.Info.Certificates[0].NotAfter = now.Add(-time.Minute) }},
		{"FIRE-IDENTITY-003", Warn, func(f *Facts) { f.Info.Certificates[0].RenewAt = now.Add(-time.Hour) }},
		{"FIRE-IDENTITY-004", Warn, func(f *Facts) { f.CA.Roots[0].NotAfter = now.Add(24 * time.Hour) }},
		{"FIRE-IDENTITY-004", Fail, func(f *Facts) { f.CA.Roots[0].NotAfter = now.Add(-24 * time.Hour) }},
		{"FIRE-IDENTITY-005", Warn, func(f *Facts) { f.CA.Roots = append(f.CA.Roots, admin.RootInfo{}) }},
		{"FIRE-IDENTITY-006", Fail, func(f *Facts) { f.Status.Nodes[1].CertExpires = now.Add(-time.Hour) }},
		{"FIRE-CONTROL-002", Fail, func(f *Facts) { f.Info.Linked, f.Info.ClockSkewMS = false, 0 }},
		{"FIRE-CONTROL-003", Warn, func(f *Facts) { f.Status.Source = "snapshot" }},
		{"FIRE-CONTROL-004", Warn, func(f *Facts) { f.Status.FloorVersion = 0 }},
		{"FIRE-CONTROL-005", Warn, func(f *Facts) { f.Info.Version = 8 }},
		{"FIRE-PROXY-001", Fail, func(f *Facts) { f.Status.Nodes[0].State = "OFFLINE" }},
		{"FIRE-PROXY-002", Fail, func(f *Facts) { f.Status.Nodes[0].State = "REJECTED" }},
		{"FIRE-PROXY-003", Warn, func(f *Facts) { f.Status.Nodes[0].State = "STALE" }},
		{"FIRE-PROXY-004", Warn, func(f *Facts) { f.Status.Nodes[0].State = "DRAINING" }},
		{"FIRE-PROXY-005", Warn, func(f *Facts) { f.Status.Nodes[0].Release = "2" }},
		{"FIRE-PROXY-006", Warn, func(f *Facts) { f.Status.Nodes[0].ApplyMS = 1500 }},
		{"FIRE-PROXY-007", Fail, func(f *Facts) { f.Status.Nodes[0].Address = f.Status.Nodes[1].Address }},
		{"FIRE-PROXY-008", Warn, func(f *Facts) { f.Info.MaxProcs = 1 }},
		{"FIRE-SERVICE-001", Fail, func(f *Facts) { f.Services[0].Endpoints = nil }},
		{"FIRE-SERVICE-002", Fail, func(f *Facts) { f.Services[0].Endpoints[0].Healthy, f.Services[0].Endpoints[1].Draining = false, true }},
		{"FIRE-SERVICE-003", Warn, func(f *Facts) { f.Services[0].Endpoints[0].Healthy = false }},
		{"FIRE-SERVICE-004", Warn, func(f *Facts) { f.Services[0].Endpoints[0].Linked = false }},
		{"FIRE-SERVICE-005", Fail, func(f *Facts) { f.Services[0].Placed = nil }},
		{"FIRE-SERVICE-006", Fail, func(f *Facts) { f.Edges[0].State = "error" }},
		{"FIRE-SERVICE-006", Warn, func(f *Facts) { f.Edges[0].State = "warn" }},
		{"FIRE-SERVICE-007", Fail, func(f *Facts) { f.Edges[0].Secured = false }},
		{"FIRE-SERVICE-008", Warn, func(f *Facts) { f.Refusals = []admin.Refusal{{At: now.Add(-time.Second), Src: "a", Dst: "b"}} }},
	}
	for _, c := range Run(healthy()) {
		if c.State != OK {
			t.Errorf("a healthy floor: %s is %s: %s", c.Code, c.State, c.Text)
		}
	}
	tried := []string{"FIRE-CONTROL-001"} // below
	for _, row := range rows {
		f := healthy()
		row.spoil(f)
		tried = append(tried, row.code)
		for _, c := range Run(f) {
			want := OK
			if c.Code == row.code {
				want = row.state
			}
			if c.State != want && c.State != Skip {
				t.Errorf("%s: %s is %s, want %s: %s", row.code, c.Code, c.State, want, c.Text)
			}
			if (c.State == Warn || c.State == Fail) != (c.Fix != "") {
				t.Errorf("%s: state %s with fix %q", c.Code, c.State, c.Fix)
			}
		}
	}
	for _, c := range Checks() {
		if c.Group != DirectGroup && !slices.Contains(tried, c.Code) { // those have a test of their own
			t.Errorf("%s is never provoked", c.Code)
		}
	}
}

func TestWithoutAProcessNothingPassesUnseen(t *testing.T) {
	f := &Facts{Now: now, Host: healthy().Host, AskErr: errors.New("no fire runs on this host")}
	for _, c := range Run(f) {
		switch {
		case c.Code == "FIRE-CONTROL-001":
			if c.State != Fail || !strings.Contains(c.Text, "no fire runs") {
				t.Errorf("%s: %s %s", c.Code, c.State, c.Text)
			}
		case c.Group != "host" && c.Group != "clock" && c.State != Skip:
			t.Errorf("%s is %s without its facts: %s", c.Code, c.State, c.Text)
		}
	}
	for _, c := range Run(&Facts{Host: Host{OS: "linux", OpenFilesHard: -1, RmemMaxBytes: -1, WmemMaxBytes: -1, ListenQueueMax: -1, LocalPorts: -1,
		MemFreeBytes: -1, SwapUsedBytes: -1, DirFreeBytes: -1, ClockSynced: -1}}, "host", "clock") {
		if c.State != Skip && c.Code != "FIRE-HOST-001" && c.Code != "FIRE-HOST-011" && c.Code != "FIRE-HOST-012" {
			t.Errorf("%s is %s though the kernel says nothing: %s", c.Code, c.State, c.Text)
		}
	}
}

func TestCodesAreUniqueAndExplained(t *testing.T) {
	shape := regexp.MustCompile(`^FIRE-(HOST|CLOCK|CONFIG|IDENTITY|CONTROL|PROXY|SERVICE|DIRECT)-[0-9]{3}$`)
	seen := map[string]bool{}
	for _, c := range Checks() {
		if !shape.MatchString(c.Code) || seen[c.Code] || c.Title == "" || c.Cause == "" || c.Fix == "" || !slices.Contains(Groups(), c.Group) {
			t.Errorf("bad row: %+v", c)
		}
		seen[c.Code] = true
		if got, found := Find(c.Code); !found || got.Title != c.Title {
			t.Errorf("%s is not found", c.Code)
		}
	}
	if len(seen) < 25 {
		t.Errorf("%d checks, at least 25 are promised", len(seen))
	}
}

func TestProbeReadsThisHost(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("the kernel is not Linux")
	}
	dir := t.TempDir()
	h := Probe(dir)
	if h.OpenFilesHard <= 0 || h.MemBytes <= 0 || h.MemFreeBytes <= 0 || h.DirFreeBytes < 0 || h.DirErr != "" || h.LoopbackUDPErr != "" {
		t.Errorf("got %+v", h)
	}
	if h := Probe(dir + "/absent"); h.DirErr == "" || h.DirFreeBytes != -1 {
		t.Errorf("an absent folder: %+v", h)
	}
}
