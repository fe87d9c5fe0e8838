package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	urfave "github.com/urfave/cli/v2"
)

// This file is the only one that knows urfave/cli. What it keeps away, all tried on
// v2.27.7: flags after an argument are dropped (line.go sorts them first); unknown
// verbs exit 3 or 0 and surplus arguments pass (line.go refuses both); usage errors
// go to stdout and OnUsageError is not inherited (set on every command here);
// cli.Exit leaves before deferred calls run (ExitErrHandler does nothing, errors are
// returned); slices split on commas (DisableSliceFlagSeparator); a flag that is asked
// for by a wrong name reads as "" (call.flag makes it an error; urfave's own
// InvalidFlagAccessHandler also fires for the help flag that is switched off here).

// parse runs a sorted line through urfave/cli, which checks and converts the flags,
// and calls the verb.
func parse(ctx context.Context, root *verb, l line, c *call) error {
	app := &urfave.App{
		Name: root.name, HideHelp: true, HideVersion: true, HideHelpCommand: true,
		Writer: io.Discard, ErrWriter: io.Discard,
		ExitErrHandler:            func(*urfave.Context, error) {},
		OnUsageError:              refuseUsage,
		DisableSliceFlagSeparator: true,
		Commands:                  commands(root, c),
	}
	args := append(slices.Clone(l.path), l.flags...)
	args = append(append(args, "--"), l.args...)
	return errors.Join(app.RunContext(ctx, args), c.fault)
}

func commands(v *verb, c *call) []*urfave.Command {
	out := make([]*urfave.Command, 0, len(v.verbs))
	for _, child := range v.verbs {
		command := &urfave.Command{
			Name: child.name, HideHelp: true, HideHelpCommand: true,
			OnUsageError: refuseUsage, Flags: urfaveFlags(child.flags), Subcommands: commands(child, c),
		}
		if child.run != nil {
			command.Action = func(uc *urfave.Context) error {
				c.flags, c.args, c.verb = uc, uc.Args().Slice(), child
				if err := c.checkWords(); err != nil {
					return err
				}
				return child.run(uc.Context, c)
			}
		}
		out = append(out, command)
	}
	return out
}

func refuseUsage(_ *urfave.Context, err error, _ bool) error { return usage("", "%s", err.Error()) }

func urfaveFlags(flags []flag) []urfave.Flag {
	out := make([]urfave.Flag, 0, len(flags))
	for _, f := range flags {
		switch f.kind {
		case kindBool:
			out = append(out, &urfave.BoolFlag{Name: f.name})
		case kindString:
			out = append(out, &urfave.StringFlag{Name: f.name, Value: f.def})
		case kindList:
			out = append(out, &urfave.StringSliceFlag{Name: f.name})
		case kindInt:
			n, _ := strconv.ParseInt(f.def, 10, 64) // defaults are tested
			out = append(out, &urfave.Int64Flag{Name: f.name, Value: n})
		case kindDuration:
			d, _ := time.ParseDuration(f.def)
			out = append(out, &urfave.DurationFlag{Name: f.name, Value: d})
		case kindNumber:
			n, _ := strconv.ParseFloat(f.def, 64)
			out = append(out, &urfave.Float64Flag{Name: f.name, Value: n})
		}
	}
	return out
}

// call is one verb being run: its flags and arguments, and the streams.
type call struct {
	flags *urfave.Context
	args  []string
	verb  *verb
	root  *verb
	in    io.Reader
	out   io.Writer // data
	err   io.Writer // talk
	env   func(string) string
	fault error // of the program itself, see flag
}

// flag notes a name that the verb does not have, which urfave/cli reads as zero.
func (c *call) flag(name string) string {
	if _, ok := c.verb.flag(name); !ok {
		c.fault = fmt.Errorf("`%s` asks for a flag %q that it does not have; this is a fault of fire", c.verb.name, name)
	}
	return name
}

func (c *call) given(name string) bool             { return c.flags.IsSet(c.flag(name)) }
func (c *call) bool(name string) bool              { return c.flags.Bool(c.flag(name)) }
func (c *call) string(name string) string          { return c.flags.String(c.flag(name)) }
func (c *call) list(name string) []string          { return c.flags.StringSlice(c.flag(name)) }
func (c *call) int(name string) int64              { return c.flags.Int64(c.flag(name)) }
func (c *call) number(name string) float64         { return c.flags.Float64(c.flag(name)) }
func (c *call) duration(name string) time.Duration { return c.flags.Duration(c.flag(name)) }
func (c *call) say(format string, args ...any)     { fmt.Fprintf(c.err, format+"\n", args...) }
func (c *call) printf(format string, args ...any)  { fmt.Fprintf(c.out, format, args...) }

// checkWords refuses a flag's value, or an argument, that is none of the few legal ones.
func (c *call) checkWords() error {
	if words := strings.Split(c.verb.args, "|"); len(words) > 1 && !strings.Contains(c.verb.args, "[") && !slices.Contains(words, c.args[0]) {
		return usage("", "%q is none of %s", c.args[0], strings.Join(words, ", "))
	}
	for _, f := range c.verb.flags {
		if v := c.string(f.name); len(f.words) > 0 && f.kind == kindString && !slices.Contains(f.words, v) {
			return usage("", "--%s %q is none of %s", f.name, v, strings.Join(f.words, ", "))
		}
	}
	return nil
}
