package cli

import (
	"context"
	"errors"
	"log/slog"

	"fire/node/demo"
)

func demoVerb() *verb {
	v := &verb{
		name: "demo", brief: "run one program of the demonstration floor",
		about: `The programs of ` + "`fire dev`" + `, each as a process of its own, so that the floor can run on several hosts. Addresses default to those of the dev floor.`,
	}
	for _, d := range demo.Verbs() {
		child := &verb{
			name: d.Name, brief: d.Short,
			flags:    []flag{levelFlag()},
			examples: []example{{"fire demo " + d.Name, "with the floor's addresses"}},
		}
		for _, f := range d.Flags {
			child.flags = append(child.flags, flag{name: f.Name, kind: kindString, value: "VALUE", def: f.Default, brief: f.Usage})
		}
		child.run = func(ctx context.Context, c *call) error { return c.runDemo(ctx, d) }
		v.verbs = append(v.verbs, child)
	}
	v.verbs = append(v.verbs, &verb{
		name: "floor", brief: "print the floor file of the demonstration floor",
		about:    `Its services with their placement on host-a, host-b and host-c, and the least that each may call.`,
		examples: []example{{"fire demo floor > floor.toml", "to change it and apply it"}},
		run: func(_ context.Context, c *call) error {
			c.printf("%s", demo.FloorFile())
			return nil
		},
	})
	return v
}

func (c *call) runDemo(ctx context.Context, d demo.Verb) error {
	log, err := c.logger("auto")
	if err != nil {
		return err
	}
	values := map[string]string{}
	for _, f := range d.Flags {
		if c.given(f.Name) {
			values[f.Name] = c.string(f.Name)
		}
	}
	p, err := d.New(values, log)
	if err != nil {
		return err
	}
	if a := p.Addr(); a != "" {
		c.say("%s listens at %s", d.Name, a)
	}
	err = p.Run(ctx)
	c.printf("%s\n", p.Summary())
	if errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

func levelFlag() flag {
	return flag{name: "log-level", kind: kindString, value: "LEVEL", def: "info", words: []string{"debug", "info", "warn", "error"}, brief: "debug, info, warn or error"}
}

// logger writes to stderr: text for people, JSON for programs.
func (c *call) logger(format string) (*slog.Logger, error) {
	var level slog.Level
	if err := level.UnmarshalText([]byte(c.string("log-level"))); err != nil {
		return nil, usage("", "--log-level: %s", err)
	}
	return c.loggerAt(level, format), nil
}

func (c *call) loggerAt(level slog.Level, format string) *slog.Logger {
	o := &slog.HandlerOptions{Level: level}
	if format == "text" || format == "auto" && isTerminal(c.err) {
		return slog.New(slog.NewTextHandler(c.err, o))
	}
	return slog.New(slog.NewJSONHandler(c.err, o))
}
