package cli

import (
	"context"
	"fmt"
	"os"
	"time"

	"fire/node/admin"
	"fire/node/check"
	"fire/node/config"
)

func checkVerb() *verb {
	return &verb{
		name: "check", brief: "look for what is wrong, with a code, cause and fix for each finding", args: "[GROUP...]", most: len(check.Groups()),
		about: `Groups: host, clock, config, identity, control, proxies, services, and direct: whether this host suits the direct path, which is looked at where the role direct runs or mesh.toml has it, with --direct, or by its name. Every fix of that group is a line that can be pasted as root. A warning does not fail the check; a failure makes the exit code 3. --wait looks again until nothing fails. ` + "`fire explain CODE` tells more of a finding, offline.",
		flags: []flag{
			{name: "output", short: "o", kind: kindString, value: "FORM", def: "table", words: []string{"table", "short", "json", "jsonl"}, brief: "table, short (only what is not ok), json or jsonl"},
			socketFlag(),
			{name: "config", kind: kindString, value: "FILE", brief: "mesh.toml to check; else the running process's, else " + defaultConfig},
			{name: "direct", kind: kindBool, brief: "look whether this host suits the direct path, and at the groups that are named besides"},
			{name: "cpus", kind: kindString, value: "LIST", brief: "cores on which programs of the direct path spin, as 2-3,8; else the isolated ones"},
			{name: "wait", kind: kindDuration, value: "TIME", def: "0s", brief: "look again for this long until nothing fails"},
		},
		examples: []example{
			{"fire check", "everything"},
			{"fire check host clock", "before anything is installed"},
			{"fire check --direct", "before shared memory and UDP are used: cores, memory, kernel"},
			{"fire check --direct --cpus 2-3 -o short", "what is wrong with two cores of your choice"},
			{"fire check --wait 30s -o short", "after a start, in a script"},
			{"fire check -o json", "for programs (fire.check/v1)"},
		},
		run: runCheck,
	}
}

// checked is what `check -o json` says.
type checked struct {
	OK       bool            `json:"ok"`
	Failed   int             `json:"failed"`
	Warned   int             `json:"warned"`
	Skipped  int             `json:"skipped"`
	Findings []check.Finding `json:"findings"`
}

// checkPause is the time between two looks of --wait.
const checkPause = 500 * time.Millisecond

func runCheck(ctx context.Context, c *call) error {
	for _, g := range c.args {
		if !contains(check.Groups(), g) {
			return usage("did you mean "+config.Nearest(g, check.Groups())+"?", "there is no group %q", g)
		}
	}
	groups := c.args
	if c.bool("direct") && !contains(groups, check.DirectGroup) {
		groups = append(groups[:len(groups):len(groups)], check.DirectGroup)
	}
	named, err := check.ParseCPUs(c.string("cpus"), -1)
	if err != nil {
		return usage("", "--cpus: %v", err)
	}
	if len(named) > 0 && !contains(groups, check.DirectGroup) {
		return usage("add --direct", "--cpus is for the direct path")
	}
	if c.duration("wait") < 0 {
		return usage("", "--wait %v is below zero", c.duration("wait"))
	}
	until := time.NewTimer(c.duration("wait"))
	defer until.Stop()
	answer := c.look(ctx, groups, named)
	for waiting := c.duration("wait") > 0; waiting && !answer.OK; {
		pause := time.NewTimer(checkPause)
		select {
		case <-ctx.Done():
			waiting = false
		case <-until.C:
			waiting = false
		case <-pause.C:
		}
		pause.Stop()
		answer = c.look(ctx, groups, named)
	}
	if err := c.printCheck(answer); err != nil {
		return err
	}
	if !answer.OK {
		return &unhealthy{}
	}
	return nil
}

func contains(list []string, s string) bool {
	for _, l := range list {
		if l == s {
			return true
		}
	}
	return false
}

// look gathers the facts once and judges them; named are the cores that --cpus says.
func (c *call) look(ctx context.Context, groups []string, named check.CPUs) checked {
	f := check.Facts{Now: time.Now()}
	explicit := c.string("socket")
	if explicit == "" {
		explicit = c.env("FIRE_SOCKET")
	}
	if path, _, err := admin.Discover(ctx, explicit); err != nil {
		f.AskErr = err
	} else {
		a := admin.Dial(path)
		f.Ask(ctx, a)
		a.Close()
	}
	roles := c.lookAtConfig(&f)
	if len(groups) == 0 && contains(roles, config.RoleDirect) || contains(groups, check.DirectGroup) {
		pid := 0
		if f.Info != nil && contains(f.Info.Roles, config.RoleDirect) {
			pid = f.Info.PID
		}
		f.Direct = check.ProbeDirect(os.DirFS("/"), named, pid)
		f.Direct.Kernel = check.AskKernel()
	}
	answer := checked{Findings: check.Run(&f, groups...)}
	answer.Failed, answer.Warned, answer.Skipped = check.Count(answer.Findings, check.Fail), check.Count(answer.Findings, check.Warn), check.Count(answer.Findings, check.Skip)
	answer.OK = answer.Failed == 0
	return answer
}

// lookAtConfig reads the file that is meant and the state folder that it or the
// process names. It returns the roles of this host; the one of a floor for trying has none,
// since nobody tunes a kernel for it.
func (c *call) lookAtConfig(f *check.Facts) (roles []string) {
	dir := ""
	f.ConfigPath = c.string("config")
	if f.Info != nil {
		dir = f.Info.Dir
		if !f.Info.Dev {
			roles = f.Info.Roles
		}
		if f.ConfigPath == "" {
			f.ConfigPath = f.Info.ConfigPath
		}
	}
	if f.ConfigPath == "" && f.Info == nil && exists(defaultConfig) {
		f.ConfigPath = defaultConfig
	}
	if f.ConfigPath != "" {
		conf, problems := config.Load(f.ConfigPath)
		for _, p := range problems {
			f.ConfigProblems = append(f.ConfigProblems, p.Position.String()+": "+p.Text)
		}
		if conf != nil {
			f.ConfigPath, f.ConfigDigest = conf.File(), conf.Digest()
			if dir == "" {
				dir = conf.Node.Dir
			}
			if f.Info == nil {
				roles = conf.Node.Roles
			}
		}
	}
	f.Host = check.Probe(dir)
	return roles
}

func (c *call) printCheck(answer checked) error {
	switch c.string("output") {
	case "json":
		return c.json(envelope{"fire.check/v1", answer})
	case "jsonl":
		return printList(c, "fire.check/v1", answer.Findings, nil, "")
	}
	short := c.string("output") == "short"
	paint := c.painter()
	group := ""
	for _, f := range answer.Findings {
		bad := f.State == check.Warn || f.State == check.Fail
		if short && !bad {
			continue
		}
		if !short && f.Group != group {
			if group != "" {
				c.printf("\n")
			}
			group = f.Group
			c.printf("%s\n", group)
		}
		c.printf("  %s %-17s %s", paint(fmt.Sprintf("%-4s", f.State)), f.Code, f.Title)
		if f.Text != "" {
			c.printf(": %s", oneLine(f.Text))
		}
		c.printf("\n")
		if bad && !short {
			c.printf("       next: %s\n", f.Fix)
		}
	}
	if !short {
		c.printf("\n")
	}
	c.printf("%d ok, %d warned, %d failed, %d skipped\n", check.Count(answer.Findings, check.OK), answer.Warned, answer.Failed, answer.Skipped)
	return nil
}
