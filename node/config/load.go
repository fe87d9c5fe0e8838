package config

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"unicode/utf8"
)

// Limits of one file.
const (
	FileBytesMax = 256 << 10
	KeysMax      = 20_000
)

// Load reads and checks the file at path, and fills what depends on the host: the
// node's name and the state folder. It touches nothing.
func Load(path string) (*Config, Problems) {
	data, err := read(path)
	if err != nil {
		return nil, Problems{{Position: Position{File: path}, Text: err.Error()}}
	}
	c, problems := Parse(path, data)
	if len(problems) > 0 {
		return nil, problems
	}
	if c.file, err = filepath.Abs(path); err != nil {
		return nil, Problems{{Position: Position{File: path}, Text: err.Error()}}
	}
	if problem := c.onHost(filepath.Dir(c.file), os.Hostname, os.Getenv, os.Geteuid()); problem != "" {
		return nil, Problems{{Position: Position{File: path, Line: 1, Column: 1}, Key: "node.name", Text: problem, Hint: `set name = "..." in [node]`}}
	}
	return c, nil
}

// HostDefault is what Load makes of an empty file in folder: for a host that joins
// with a token and has no file.
func HostDefault(folder string) (*Config, Problems) {
	c, problems := Parse("the defaults", nil)
	if len(problems) > 0 {
		return nil, problems
	}
	if problem := c.onHost(folder, os.Hostname, os.Getenv, os.Geteuid()); problem != "" {
		return nil, Problems{{Position: Position{File: "the defaults"}, Key: "node.name", Text: problem, Hint: "name the node in a mesh.toml"}}
	}
	c.file = ""
	return c, nil
}

func read(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		if os.IsNotExist(err) {
			return nil, fmt.Errorf("there is no such file; name one with --config, or start from mesh.toml.example")
		}
		return nil, err
	}
	defer f.Close()
	if st, err := f.Stat(); err == nil && st.IsDir() {
		return nil, fmt.Errorf("is a folder, not a file")
	}
	return io.ReadAll(io.LimitReader(f, FileBytesMax+1))
}

// Parse is Load without the host: pure. name stands in the problems.
func Parse(name string, data []byte) (*Config, Problems) {
	if len(data) > FileBytesMax {
		return nil, Problems{{Position: Position{File: name}, Text: fmt.Sprintf("is larger than %d KiB", FileBytesMax>>10)}}
	}
	if !utf8.Valid(data) {
		return nil, Problems{{Position: Position{File: name}, Text: "is not UTF-8 text"}}
	}
	text := strings.ReplaceAll(string(data), "\r\n", "\n")
	c := Default()
	d := decode(name, text, &c)
	if len(d.places) > KeysMax {
		return nil, Problems{{Position: Position{File: name}, Text: fmt.Sprintf("has more than %d keys", KeysMax)}}
	}
	if d.places != nil { // it is TOML, so the values that did decode can be checked too
		c.check(d.section)
	}
	if len(d.problems) > 0 {
		return nil, d.problems.inOrder()
	}
	c.origin, c.file = d.origins, name
	return &c, nil
}

// section is what a room's Check reports to: key is relative to the table. A key
// that the decoder refused already is not reported twice.
func (d *decoder) section(table string) func(key, problem string) {
	return func(key, problem string) {
		path := strings.Split(table, ".")
		if key != "" {
			path = append(path, strings.Split(key, ".")...)
		}
		for _, p := range d.problems {
			if p.Key == dotted(path) {
				return
			}
		}
		d.refuse(path, true, problem, d.whenUnset(path))
	}
}

// whenUnset says where a value comes from that the file does not hold.
func (d *decoder) whenUnset(path []string) string {
	if _, ok := d.places[pathKey(path)]; ok {
		return ""
	}
	return "it is not set in the file"
}

// onHost fills the values whose default is a fact of the host.
func (c *Config) onHost(folder string, hostname func() (string, error), env func(string) string, uid int) (problem string) {
	c.notes = map[string]string{}
	if c.Node.Name == "" {
		full, err := hostname()
		if err != nil {
			return "the host's name cannot be read: " + err.Error()
		}
		c.Node.Name, _, _ = strings.Cut(strings.ToLower(full), ".")
		c.notes["node.name"] = "host name"
		unplaced := ""
		c.Node.check(func(key, p string) {
			if key == "name" {
				unplaced = "the host's name cannot serve: " + p
			}
		})
		if unplaced != "" {
			return unplaced
		}
	}
	switch {
	case c.Node.Dir != "" && !filepath.IsAbs(c.Node.Dir):
		c.Node.Dir = filepath.Join(folder, c.Node.Dir)
	case c.Node.Dir != "":
	case env("STATE_DIRECTORY") != "":
		c.Node.Dir, _, _ = strings.Cut(env("STATE_DIRECTORY"), ":")
		c.notes["node.dir"] = "STATE_DIRECTORY"
	case uid == 0:
		c.Node.Dir = "/var/lib/fire"
		c.notes["node.dir"] = "default for root"
	case env("XDG_STATE_HOME") != "":
		c.Node.Dir = filepath.Join(env("XDG_STATE_HOME"), "fire")
		c.notes["node.dir"] = "XDG_STATE_HOME"
	default:
		c.Node.Dir = filepath.Join(env("HOME"), ".local/state/fire")
		c.notes["node.dir"] = "HOME"
	}
	return ""
}
