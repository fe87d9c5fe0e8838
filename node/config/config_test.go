package config

import (
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/BurntSushi/toml"
)

// probe has one field of every form, so that the decoder is tested apart from the rooms.
type probe struct {
	Word  string           `toml:"word"`
	Count int              `toml:"count"`
	Port  uint16           `toml:"port"`
	Share float64          `toml:"share"`
	On    bool             `toml:"on"`
	Wait  time.Duration    `toml:"wait"`
	Names []string         `toml:"names"`
	Inner probeInner       `toml:"inner"`
	Thing map[string]thing `toml:"thing"`
	//lint:ignore U1000 it proves that private fields are passed over
	free string
}

type probeInner struct {
	Level Level `toml:"level"`
}

// Level reads itself from text.
type Level int

func (l *Level) UnmarshalText(b []byte) error { *l = Level(len(b)); return nil }

type thing struct {
	Address string        `toml:"address"`
	Every   time.Duration `toml:"every"`
}

func TestDecodeFillsEveryForm(t *testing.T) {
	p := probe{Word: "kept", Count: 7}
	d := decode("f", `
count = 3
port = 65_535
share = 1
on = true
wait = "1m30s"
names = ["a", 'b']
inner = { level = "four" }
[thing.one]
address = "x"
[thing.two]
every = "5s"
`, &p)
	if len(d.problems) > 0 {
		t.Fatal(d.problems)
	}
	if p.Word != "kept" || p.Count != 3 || p.Port != 65535 || p.Share != 1 || !p.On || p.Wait != 90*time.Second ||
		len(p.Names) != 2 || p.Inner.Level != 4 {
		t.Errorf("got %+v", p)
	}
	if p.Thing["one"] != (thing{"x", 0}) || p.Thing["two"] != (thing{"", 5 * time.Second}) {
		t.Errorf("named tables: %+v", p.Thing)
	}
	if at := d.origins["thing.two.every"].String(); at != "f:12:1" {
		t.Errorf("thing.two.every stands at %s", at)
	}
}

var updateGolden = flag.Bool("update-golden", false, "write testdata/bad/*.txt")

// TestBadFilesGetEveryProblemWithItsPlace: each testdata/bad/*.toml has its report beside it.
func TestBadFilesGetEveryProblemWithItsPlace(t *testing.T) {
	files, err := filepath.Glob("testdata/bad/*.toml")
	if err != nil || len(files) < 10 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var got string
		if strings.Contains(file, "probe_") {
			p := probe{}
			got = decode("mesh.toml", string(data), &p).problems.inOrder().Error() + "\n"
		} else {
			_, problems := Parse("mesh.toml", data)
			got = problems.Error() + "\n"
		}
		if got == "\n" {
			t.Errorf("%s: accepted", file)
			continue
		}
		golden := strings.TrimSuffix(file, ".toml") + ".txt"
		if *updateGolden {
			if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(golden)
		if err != nil || got != string(want) {
			t.Errorf("%s (%v) reports\n%s\nwant\n%s", file, err, got, want)
		}
	}
}

func TestSecretNeverShowsInAProblem(t *testing.T) {
	for _, text := range []string{
		"[node]\nname = \"fire1.c2VjcmV0LXRva2Vu\"\n",
		"[node]\nroles = [\"fire1.c2VjcmV0LXRva2Vu\"]\n",
		"[node]\nname = \"fire1.c2VjcmV0LXRva2Vu\n",
		"[node]\nname = \"\"\"-----BEGIN EC PRIVATE KEY-----\nc2VjcmV0LXRva2Vu\n\"\"\"\n",
		"[node]\ntoken = \"fire1.c2VjcmV0LXRva2Vu\"\n",
	} {
		_, problems := Parse("f", []byte(text))
		if len(problems) == 0 {
			t.Errorf("accepted: %q", text)
		}
		if strings.Contains(problems.Error(), "c2VjcmV0") {
			t.Errorf("shows the secret:\n%v", problems)
		}
	}
}

func TestLimitsRefuseWhatIsTooLarge(t *testing.T) {
	for name, data := range map[string]string{
		"bytes": strings.Repeat("#", FileBytesMax+1),
		"utf-8": "a = \"\xff\"",
		"depth": "a = " + strings.Repeat("[", FileBytesMax/2),
		"keys":  strings.Repeat("[a]\n", 1) + manyKeys(KeysMax+1),
	} {
		if _, problems := Parse("f", []byte(data)); len(problems) == 0 || len(problems) > ProblemsMax+1 {
			t.Errorf("%s: %d problems", name, len(problems))
		}
	}
}

func manyKeys(n int) string {
	var b strings.Builder
	const digits = "abcdefghijklmnopqrstuvwxyz"
	for i := range n {
		for ; i > 0; i /= 26 {
			b.WriteByte(digits[i%26])
		}
		b.WriteString("k=1\n")
	}
	return b.String()
}

func TestHostFillsWhatTheFileLeavesOut(t *testing.T) {
	host := func() (string, error) { return "LDN-Host7.example.org", nil }
	env := func(pairs ...string) func(string) string {
		return func(k string) string {
			for i := 0; i < len(pairs); i += 2 {
				if pairs[i] == k {
					return pairs[i+1]
				}
			}
			return ""
		}
	}
	for _, row := range []struct {
		text, dir string
		env       func(string) string
		uid       int
	}{
		{"", "/var/lib/fire", env(), 0},
		{"", "/home/x/.local/state/fire", env("HOME", "/home/x"), 7},
		{"", "/s/fire", env("HOME", "/home/x", "XDG_STATE_HOME", "/s"), 7},
		{"", "/run/state", env("STATE_DIRECTORY", "/run/state:/other"), 0},
		{"[node]\ndir = \"state\"", "/etc/fire/state", env(), 0},
		{"[node]\ndir = \"/abs\"", "/abs", env("STATE_DIRECTORY", "/run/state"), 0},
	} {
		c, problems := Parse("f", []byte(row.text))
		if problems != nil {
			t.Fatal(problems)
		}
		if bad := c.onHost("/etc/fire", host, row.env, row.uid); bad != "" || c.Node.Dir != row.dir || c.Node.Name != "ldn-host7" {
			t.Errorf("%q: dir %q name %q %s", row.text, c.Node.Dir, c.Node.Name, bad)
		}
	}
	c, _ := Parse("f", nil)
	if c.onHost("/", func() (string, error) { return "under_score", nil }, env(), 0) == "" {
		t.Error("a host name that is no node name must be refused")
	}
}

func TestLoadedFileKnowsItsPathAndKeys(t *testing.T) {
	path := filepath.Join(t.TempDir(), "mesh.toml")
	if err := os.WriteFile(path, []byte("[node]\nname = \"h1\"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	c, problems := Load(path)
	if problems != nil || c.File() != path || !c.Sets("node.name") || c.Sets("node.dir") || c.Node.Dir == "" {
		t.Errorf("got %+v, %v", c, problems)
	}
	for _, bad := range []string{filepath.Dir(path), path + ".absent"} {
		if _, problems := Load(bad); len(problems) != 1 {
			t.Errorf("%s: %v", bad, problems)
		}
	}
}

func TestShowTellsWhereEachValueComesFrom(t *testing.T) {
	c, problems := Parse("mesh.toml", []byte("[node]\nname = \"h1\"\n\n[log]\nlevel = \"debug\"\n"))
	if problems != nil {
		t.Fatal(problems)
	}
	origins := map[string]string{}
	for _, v := range c.Values() {
		origins[v.Key] = v.Value + " " + v.Origin
	}
	for key, want := range map[string]string{
		"node.name": `"h1" mesh.toml:2:1`, "log.level": `"debug" mesh.toml:5:1`, "log.format": `"auto" default`,
	} {
		if origins[key] != want {
			t.Errorf("%s: %s, want %s", key, origins[key], want)
		}
	}
	again, problems := Parse("again", []byte(c.Show(true)))
	if problems != nil || again.Digest() != c.Digest() {
		t.Errorf("what is shown does not read back the same: %v", problems)
	}
}

func TestDigestIgnoresSpellingAndDiffNamesReload(t *testing.T) {
	parse := func(s string) *Config {
		c, problems := Parse("f", []byte(s))
		if problems != nil {
			t.Fatal(problems)
		}
		return c
	}
	a := parse("[node]\nname='h1' # one\n[log]\nformat = \"json\"")
	b := parse("log.format = \"json\"\r\n[node]\r\nname = \"h1\"\r\n")
	if a.Digest() != b.Digest() || len(Diff(a, b)) != 0 {
		t.Errorf("same values, other digest: %v", Diff(a, b))
	}
	c := parse("[node]\nname='h2'")
	if a.Digest() == c.Digest() {
		t.Error("other values, same digest")
	}
	changes := Diff(a, c)
	if len(changes) != 2 || changes[0] != (Change{"log.format", `"json"`, `"auto"`, "restart"}) || changes[1].Key != "node.name" {
		t.Errorf("got %+v", changes)
	}
}

// What the host adds to a file, and how the file was named, is no change of it.
func TestDigestIsTheFilesAloneHoweverItWasNamed(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "mesh.toml"), []byte("[node]\nzone = \"a\"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	load := func(path string) string {
		c, problems := Load(path)
		if problems != nil {
			t.Fatal(problems)
		}
		return c.Digest()
	}
	want := load(filepath.Join(dir, "mesh.toml"))
	t.Chdir(dir)
	if got := load("mesh.toml"); got != want {
		t.Error("the relative name gives another digest")
	}
	t.Setenv("STATE_DIRECTORY", "/var/lib/other")
	if got := load("mesh.toml"); got != want {
		t.Error("STATE_DIRECTORY gives another digest")
	}
	if err := os.WriteFile("mesh.toml", []byte("[node]\nzone = \"a\"\ndir = \"state\"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if load("mesh.toml") == want || load("mesh.toml") != load(filepath.Join(dir, "mesh.toml")) {
		t.Error("a folder in the file is not a part of the digest, or depends on the name")
	}
}

func TestSchemaIsJSONAndKnowsEveryKey(t *testing.T) {
	var s map[string]any
	if err := json.Unmarshal(Schema(), &s); err != nil {
		t.Fatal(err)
	}
	for _, f := range Fields() {
		at := s
		for part := range strings.SplitSeq(f.Key, ".") {
			next, _ := at["properties"].(map[string]any)
			if patterns, ok := at["patternProperties"].(map[string]any); ok && part == "NAME" {
				next, part = patterns, namePattern
			}
			at, _ = next[part].(map[string]any)
		}
		if at["description"] != f.Doc {
			t.Errorf("%s: schema says %v", f.Key, at["description"])
		}
		if !strings.Contains(Docs(), f.Doc) {
			t.Errorf("%s is not in the docs", f.Key)
		}
	}
}

func TestNearestFindsWhatWasMeant(t *testing.T) {
	keys := []string{"address", "listen", "idle_timeout", "level"}
	for word, want := range map[string]string{
		"adress": "address", "listne": "listen", "listen_addr": "listen", "idle_time_out": "idle_timeout", "lvel": "level", "zebra": "", "": "",
	} {
		if got := Nearest(word, keys); got != want {
			t.Errorf("Nearest(%q) = %q, want %q", word, got, want)
		}
	}
}

// FuzzParse: any text ends in a Config or in problems with a place, and the
// locator finds every key that the TOML library finds.
func FuzzParse(f *testing.F) {
	files, err := filepath.Glob("testdata/bad/*.toml")
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range append(files, examplePath) {
		data, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(data))
	}
	f.Add("a.b.\"c d\" = [1, {x = 1, y.z = 'q'}, [2]] # c\n[[t]]\nk = \"\"\"x\\\"\"\"\"\"\n[ q . 'w' ]\nd = 1979-05-27 07:32:00\n")
	f.Add("s = '''a'b'''\nt=\"\\\\\"\n\n[x]\ny={}\n[x.z]\n")
	f.Fuzz(func(t *testing.T, text string) {
		c, problems := Parse("f", []byte(text))
		if (c == nil) == (len(problems) == 0) {
			t.Fatalf("config %v with problems %v", c, problems)
		}
		for _, p := range problems {
			if strings.ContainsRune(p.Excerpt, '\x1b') {
				t.Fatalf("terminal escape in %q", p.Excerpt)
			}
		}
		tree := map[string]any{}
		md, err := toml.Decode(text, &tree)
		if err != nil {
			return
		}
		places := locate(text)
		for _, key := range md.Keys() {
			if strings.ContainsAny(strings.Join(key, ""), "\\\"'\x00") || md.Type(key...) == "" {
				continue
			}
			if _, ok := places[pathKey(key)]; !ok && !underArray(md, key) && !strings.Contains(text, "\\") {
				t.Fatalf("%q: no place for %v", text, key)
			}
		}
	})
}

// underArray: the library lists keys of inline tables in arrays without an index.
func underArray(md toml.MetaData, key toml.Key) bool {
	for i := 1; i < len(key); i++ {
		if strings.HasPrefix(md.Type(key[:i]...), "Array") {
			return true
		}
	}
	return false
}
