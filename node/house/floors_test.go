package house

import (
	"fmt"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// floors is the house: a room may import only rooms on lower floors. what is the
// line of the README's map.
var floors = map[string]struct {
	floor int
	what  string
}{
	"policy/id":               {0, "the names: trust domain, node, service, principal"},
	"policy/reason":           {0, "one code for every refused or broken flow"},
	"transport/meter":         {0, "counters and histograms in a mapped page"},
	"transport/lines":         {3, "the UDP sockets of a stream: lines A and B, batches, groups"},
	"transport/spin":          {0, "looking for the next message before the process sleeps"},
	"transport/frame":         {1, "the header that opens every mesh stream"},
	"transport/fix":           {1, "FIX framing and building"},
	"transport/feed":          {1, "SoupBinTCP framing"},
	"transport/http1":         {1, "strict HTTP/1.1 framing, one canonical form"},
	"audit/entry":             {1, "the form of one audit entry"},
	"audit/tlog":              {1, "Merkle tree, signed heads, proofs"},
	"audit/duties":            {2, "what regulations ask, and which entries and commands answer"},
	"audit/order":             {2, "FIX orders in the log: reading a message, personal values, an order's way"},
	"audit/index":             {4, "a disposable index over audit logs: searches by field and time"},
	"policy":                  {1, "rules compiled to a table; Authorize is pure"},
	"audit/clock":             {2, "the host's clock: how far off, who says so, when it jumped"},
	"audit/subject":           {2, "keys of the persons behind personal values; erasure"},
	"transport":               {2, "Session, Stream and Class, and the in-memory double"},
	"policy/pki":              {2, "CA, join tokens, certificates, the one verify function"},
	"twin":                    {2, "the live graph"},
	"transport/quic":          {3, "sessions over QUIC, heartbeats, flood limits"},
	"transport/shm":           {3, "rings in shared memory between processes"},
	"transport/udp":           {3, "encrypted datagrams between hosts: in order, repaired, or an exact gap"},
	"audit":                   {3, "one node's log: capture, group commit, segments, verify"},
	"transport/balance":       {3, "choosing an endpoint; ejection"},
	"transport/transporttest": {3, "the conformance suite of every transport"},
	"audit/inquiry":           {5, "questions to audit logs: one order's way, proofs"},
	"transport/channel":       {4, "a program's ends of a direct path; the attach protocol"},
	"audit/witness":           {4, "cosigning other logs' heads, and having one's own cosigned"},
	"node/admin":              {4, "the unix-socket API and metrics"},
	"twin/web":                {4, "the live map"},
	"node/catalog":            {5, "the mesh as one signed value; leases with epochs"},
	"node/control":            {6, "the control role"},
	"node/agent":              {6, "a node's side of the link to control"},
	"node/direct":             {6, "the direct role: who may hold which ring"},
	"node/bridge":             {6, "channels between hosts: rings that go on over encrypted datagrams"},
	"node/proxy":              {6, "the data path"},
	"node/config":             {7, "mesh.toml"},
	"node/unit":               {7, "systemd units and notification"},
	"node/demo":               {7, "the demonstration floor"},
	"node/bench":              {7, "the load generator"},
	"node/check":              {7, "coded health checks of host and mesh"},
	"node":                    {8, "wiring: start in order, stop in reverse"},
	"node/cli":                {9, "verbs and tables"},
	"":                        {10, "main.go"},
	"node/e2e":                {11, "tests of whole meshes through the real binary"},
	"node/house":              {11, "the rules of this table, as tests"},
}

const module = "fire"

// tree is the repository's root, seen from this room.
const tree = "../.."

func TestRoomsImportOnlyLowerFloors(t *testing.T) {
	for _, p := range importProblems(t, tree) {
		t.Error(p)
	}
}

func TestEveryListedRoomExists(t *testing.T) {
	for room := range floors {
		if len(goFiles(t, filepath.Join(tree, room))) == 0 {
			t.Errorf("room %q is in the table but has no Go file", room)
		}
	}
}

func TestBadTreeIsCaught(t *testing.T) {
	got := strings.Join(importProblems(t, filepath.Join(tree, "testdata/house/bad")), "\n")
	for _, want := range []string{
		"policy/id/up.go: imports policy of floor 1 from floor 0",
		"transport/meter/side.go: imports policy/id of its own floor 0",
		"transport/meter/side.go: floor 0 takes the standard library only, not golang.org/x/sys/unix",
		"policy/unlisted.go: imports policy/nowhere, which is no room",
		"cellar/cellar.go: room cellar is not in the table",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("the bad tree should give %q, got:\n%s", want, got)
		}
	}
	if strings.Contains(got, "good.go") {
		t.Errorf("a good file is reported:\n%s", got)
	}
}

func TestTopLevelIsFixed(t *testing.T) {
	allowed := []string{"main.go", "node", "transport", "policy", "audit", "twin", "testdata", "go.mod", "go.sum",
		"mesh.toml.example", "README.md", "LICENSE", ".ci", ".gitignore", ".git"}
	entries, err := os.ReadDir(tree)
	if err != nil {
		t.Fatal(err)
	}
	ignored := []string{"fire", "fire-state", "node_modules"} // what .gitignore names
	for _, e := range entries {
		if !slices.Contains(allowed, e.Name()) && !slices.Contains(ignored, e.Name()) {
			t.Errorf("%s does not belong to the top level", e.Name())
		}
	}
	b, err := os.ReadFile(filepath.Join(tree, "main.go"))
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(b), "\n"); n > 30 {
		t.Errorf("main.go has %d lines, 30 are allowed", n)
	}
}

// TestReadmeMapIsTheTable keeps the README's map of rooms equal to the table.
func TestReadmeMapIsTheTable(t *testing.T) {
	b, err := os.ReadFile(filepath.Join(tree, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	want := readmeMap()
	if !strings.Contains(string(b), want) {
		t.Errorf("README.md must hold this map of rooms:\n%s", want)
	}
}

func readmeMap() string {
	rooms := make([]string, 0, len(floors))
	for r := range floors {
		rooms = append(rooms, r)
	}
	slices.SortFunc(rooms, func(a, b string) int {
		if d := floors[b].floor - floors[a].floor; d != 0 {
			return d
		}
		return strings.Compare(a, b)
	})
	var s strings.Builder
	s.WriteString("| floor | room | owns |\n|---|---|---|\n")
	for _, r := range rooms {
		name := r
		if name == "" {
			name = "main.go"
		}
		fmt.Fprintf(&s, "| %d | `%s` | %s |\n", floors[r].floor, name, floors[r].what)
	}
	return s.String()
}

// importProblems checks every Go file under root; test files obey the floors too,
// but may use any library.
func importProblems(t *testing.T, root string) []string {
	t.Helper()
	var problems []string
	for _, file := range goFilesBelow(t, root) {
		room := path.Dir(file)
		if room == "." {
			room = ""
		}
		at, ok := floors[room]
		if !ok {
			problems = append(problems, fmt.Sprintf("%s: room %s is not in the table", file, room))
			continue
		}
		for _, imp := range importsOf(t, filepath.Join(root, file)) {
			if p := importProblem(room, at.floor, strings.HasSuffix(file, "_test.go"), imp); p != "" {
				problems = append(problems, file+": "+p)
			}
		}
	}
	return problems
}

func importProblem(room string, floor int, test bool, imp string) string {
	target, own := strings.CutPrefix(imp, module+"/")
	if !own {
		if first, _, _ := strings.Cut(imp, "/"); floor == 0 && !test && strings.Contains(first, ".") {
			return "floor 0 takes the standard library only, not " + imp
		}
		return ""
	}
	to, ok := floors[target]
	switch {
	case !ok:
		return "imports " + target + ", which is no room"
	case target == room && test, target == "transport/transporttest" && test:
		return ""
	case to.floor == floor:
		return fmt.Sprintf("imports %s of its own floor %d", target, floor)
	case to.floor > floor:
		return fmt.Sprintf("imports %s of floor %d from floor %d", target, to.floor, floor)
	}
	return ""
}

func importsOf(t *testing.T, file string) []string {
	t.Helper()
	f, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ImportsOnly)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, i := range f.Imports {
		p, err := strconv.Unquote(i.Path.Value)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, p)
	}
	return out
}

// goFilesBelow lists the Go files under root, relative to it, without testdata.
func goFilesBelow(t *testing.T, root string) []string {
	t.Helper()
	var out []string
	err := filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && p != root && (d.Name() == "testdata" || d.Name() == "node_modules" || strings.HasPrefix(d.Name(), ".")) {
			return filepath.SkipDir
		}
		if !d.IsDir() && strings.HasSuffix(p, ".go") {
			rel, err := filepath.Rel(root, p)
			if err != nil {
				return err
			}
			out = append(out, filepath.ToSlash(rel))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func goFiles(t *testing.T, dir string) []string {
	t.Helper()
	out, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	return out
}
