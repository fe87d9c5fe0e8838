package cli

import (
	"context"
	"fmt"
	"os"

	"fire/node/config"
)

// defaultConfig is where an installed host has its file.
const defaultConfig = "/etc/fire/mesh.toml"

func configVerb() *verb {
	return &verb{
		name: "config", brief: "check, show and explain mesh.toml",
		verbs: []*verb{{
			name: "check", brief: "check a file without touching the host", args: "[FILE]", most: 1,
			about: `Prints every problem at once, with file, line, column, the line and a caret, and the nearest key that exists. The exit code is 1 when there is one. A digest of the effective values stands for what the file means.`,
			flags: []flag{outputFlag()},
			examples: []example{
				{"fire config check mesh.toml", "before a restart"},
				{"fire config check -o json", "of " + defaultConfig + ", for programs (fire.config.check/v1)"},
			},
			run: checkConfig,
		}, {
			name: "show", brief: "show every effective value", args: "[FILE]", most: 1,
			flags: []flag{outputFlag(), {name: "origin", kind: kindBool, brief: "say where each value comes from"}},
			examples: []example{
				{"fire config show --origin mesh.toml", "each value with file and line, or default"},
				{"fire config show -o json", "for programs (fire.config/v1)"},
			},
			run: showConfig,
		}, {
			name: "diff", brief: "compare two files, and say what needs a restart", args: "OLD NEW", least: 2, most: 2,
			flags: []flag{outputFlag()},
			examples: []example{
				{"fire config diff /etc/fire/mesh.toml new.toml", "what would change, before it does"},
			},
			run: diffConfig,
		}, {
			name: "schema", brief: "print a JSON Schema of mesh.toml",
			examples: []example{
				{"fire config schema > mesh.schema.json", "for an editor or a provisioning tool"},
			},
			run: func(_ context.Context, c *call) error { _, err := c.out.Write(config.Schema()); return err },
		}, {
			name: "docs", brief: "print the reference of every key", args: "[TABLE]", most: 1,
			examples: []example{
				{"fire config docs", "everything, as Markdown"},
				{"fire config docs proxy", "one table"},
			},
			run: configDocs,
		}},
	}
}

// configFile is the file an argument names, else the installed one.
func (c *call) configFile(i int) string {
	if len(c.args) > i {
		return c.args[i]
	}
	return defaultConfig
}

// checkedConfig is what `config check -o json` says.
type checkedConfig struct {
	File     string           `json:"file"`
	OK       bool             `json:"ok"`
	Digest   string           `json:"digest,omitempty"`
	Problems []config.Problem `json:"problems"`
}

func checkConfig(_ context.Context, c *call) error {
	file := c.configFile(0)
	conf, problems := config.Load(file)
	answer := checkedConfig{File: file, OK: len(problems) == 0, Problems: problems}
	if problems == nil {
		answer.Problems, answer.Digest = []config.Problem{}, conf.Digest()
	}
	err := printOne(c, "fire.config.check/v1", answer, func() {
		for _, p := range problems {
			c.say("%s", p.String())
		}
		if answer.OK {
			c.printf("%s is right\ndigest %s\n", file, answer.Digest)
		}
	})
	if err == nil && !answer.OK {
		err = problemsError(file, problems)
	}
	return err
}

func problemsError(file string, problems config.Problems) error {
	return fmt.Errorf("%s has %d %s", file, len(problems), plural(len(problems), "problem", "problems"))
}

// loadConfig reads a file and prints what is wrong with it.
func (c *call) loadConfig(file string) (*config.Config, error) {
	conf, problems := config.Load(file)
	if len(problems) > 0 {
		for _, p := range problems {
			c.say("%s", p.String())
		}
		return nil, problemsError(file, problems)
	}
	return conf, nil
}

func showConfig(_ context.Context, c *call) error {
	file := c.configFile(0)
	if len(c.args) == 0 {
		if _, err := os.Stat(file); os.IsNotExist(err) {
			c.say("fire: there is no %s; these are the defaults", file)
			conf := config.Default()
			return c.printConfig(&conf)
		}
	}
	conf, err := c.loadConfig(file)
	if err != nil {
		return err
	}
	return c.printConfig(conf)
}

func (c *call) printConfig(conf *config.Config) error {
	switch c.string("output") {
	case "json", "jsonl":
		return printList(c, "fire.config/v1", conf.Values(), nil, "")
	}
	c.printf("%s", conf.Show(c.bool("origin") || c.wide()))
	return nil
}

func diffConfig(_ context.Context, c *call) error {
	old, err := c.loadConfig(c.args[0])
	if err != nil {
		return err
	}
	now, err := c.loadConfig(c.args[1])
	if err != nil {
		return err
	}
	changes := config.Diff(old, now)
	return printList(c, "fire.config.diff/v1", changes, []column[config.Change]{
		{head: "KEY", cell: func(d config.Change) string { return d.Key }},
		{head: "OLD", cell: func(d config.Change) string { return d.Old }},
		{head: "NEW", cell: func(d config.Change) string { return d.New }},
		{head: "TAKES EFFECT", cell: func(d config.Change) string { return d.Reload }},
	}, "the two files mean the same")
}

func configDocs(_ context.Context, c *call) error {
	if len(c.args) == 0 {
		c.printf("%s", config.Docs())
		return nil
	}
	text, tables := config.TableDocs(c.args[0])
	if text == "" {
		hint := ""
		if near := config.Nearest(c.args[0], tables); near != "" {
			hint = "did you mean " + near + "?"
		}
		return usage(hint, "mesh.toml has no table %q", c.args[0])
	}
	c.printf("%s", text)
	return nil
}
