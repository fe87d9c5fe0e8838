package cli

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"fire/node"
	"fire/node/config"
	"fire/policy/pki"
)

func runVerb() *verb {
	return &verb{
		name: "run", brief: "run this host's roles: control, proxy, direct or several",
		about: `Reads mesh.toml, binds every socket, joins when it holds no identity yet, and runs until SIGINT or SIGTERM, which drain. control keeps the mesh, proxy carries its traffic, direct lets the programs of the host attach to channels and carries these to other hosts. A host that joins needs no file: the token carries the addresses of control, the mesh's name and the pin of its CA. Under systemd use ` + "`fire unit`.",
		flags: []flag{
			{name: "config", kind: kindString, value: "FILE", brief: "mesh.toml; else " + defaultConfig + " when it is there, else the defaults"},
			{name: "role", kind: kindString, value: "ROLE[,ROLE]", brief: "control, proxy, direct or several, instead of [node] roles"},
			{name: "token", kind: kindString, value: "TOKEN", brief: "join token: file:PATH, cred:NAME, - for standard input, or the token itself"},
		},
		examples: []example{
			{"fire run --config mesh.toml.example", "control and proxy on one machine"},
			{"fire run --role control --config mesh.toml", "control alone"},
			{"fire run --role proxy --token file:join-token", "a new host: the token is all it needs"},
			{"fire run --role proxy,direct --config mesh.toml", "a host whose programs also use channels: [program.NAME] says who they are"},
		},
		run: runRoles,
	}
}

func runRoles(ctx context.Context, c *call) error {
	conf, err := c.runConfig()
	if err != nil {
		return err
	}
	var roles []string
	if c.given("role") {
		roles = strings.Split(c.string("role"), ",")
		for i, r := range roles {
			if !slices.Contains(config.Roles(), r) {
				return usage("the roles are control, proxy and direct, or several with commas", "there is no role %q", r)
			}
			if contains(roles[:i], r) {
				return usage("", "role %q stands twice", r)
			}
		}
	}
	token, err := c.token()
	if err != nil {
		return err
	}
	surviveClosedPipes()
	return node.Run(ctx, node.Options{
		Config: conf, Roles: roles, Token: token, Release: release(),
		Log: c.loggerAt(conf.Log.Level, conf.Log.Format), Talk: c.err,
	})
}

// runConfig is the named file, the installed one, or the defaults.
func (c *call) runConfig() (*config.Config, error) {
	if c.given("config") {
		return c.loadConfig(c.string("config"))
	}
	if exists(defaultConfig) {
		return c.loadConfig(defaultConfig)
	}
	conf, problems := config.HostDefault(".")
	if len(problems) > 0 {
		return nil, problems
	}
	return conf, nil
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// token is the join token that --token names. A reference keeps it out of the list
// of processes; the token itself is taken too, since it admits one node, once.
func (c *call) token() (string, error) {
	switch named := c.string("token"); {
	case named == "-":
		line, err := bufio.NewReader(io.LimitReader(c.in, 64<<10)).ReadString('\n')
		if err != nil && err != io.EOF {
			return "", fmt.Errorf("read the token from standard input: %w", err)
		}
		return strings.TrimSpace(line), nil
	case strings.HasPrefix(named, "file:"), strings.HasPrefix(named, "cred:"):
		if path, ok := strings.CutPrefix(named, "file:"); ok { // typed in this folder, so meant from it
			full, err := filepath.Abs(path)
			if err != nil {
				return "", err
			}
			named = "file:" + full
		}
		secret, err := pki.SecretRef(named).Resolve()
		return strings.TrimSpace(string(secret)), err
	default:
		return named, nil
	}
}

func devVerb() *verb {
	return &verb{
		name: "dev", brief: "start a whole mesh on this machine, with programs that trade and a live map",
		about: `One control, three proxies that stand for three hosts (127.0.0.2, .3, .4) and the demonstration floor, in one process, without a file and without root. Its state is thrown away at the end unless --dir keeps it. Ctrl-C ends it.`,
		flags: []flag{
			{name: "dir", kind: kindString, value: "DIR", brief: "keep the state in this folder"},
			{name: "web", kind: kindString, value: "ADDRESS", brief: "address of the map; loopback only; else 127.0.0.1:7480 or a free port"},
			{name: "free-ports", kind: kindBool, brief: "give the programs any free ports, as other programs hold theirs; each floor needs a FIRE_RUNTIME_DIR of its own"},
			{name: "rate", kind: kindInt, value: "N", def: "0", brief: "orders per second over both strategies, 0 for the floor's own 2000"},
			{name: "seed", kind: kindInt, value: "N", def: "1", brief: "seed of the order flow"},
			{name: "log-level", kind: kindString, value: "LEVEL", def: "warn", words: []string{"debug", "info", "warn", "error"}, brief: "debug, info, warn or error"},
		},
		examples: []example{
			{"fire dev", "then open the printed address"},
			{"fire dev --rate 200 --dir ./floor", "slower, and keep the state"},
		},
		run: func(ctx context.Context, c *call) error {
			log, err := c.logger("auto")
			if err != nil {
				return err
			}
			if n := c.int("rate"); n < 0 || n > 1_000_000 {
				return usage("", "--rate %d is not between 0 and 1000000", n)
			}
			if c.int("seed") < 0 {
				return usage("", "--seed %d is below zero", c.int("seed"))
			}
			surviveClosedPipes()
			return node.Dev(ctx, node.DevOptions{
				Dir: c.string("dir"), Web: c.string("web"), FreePorts: c.bool("free-ports"), OrderRate: int(c.int("rate")), Seed: uint64(c.int("seed")),
				Release: release(), Log: log, Talk: c.err,
			})
		},
	}
}

// surviveClosedPipes lets a process that carries traffic outlive whoever reads its output:
// `fire dev 2>&1 | head` must still end well.
func surviveClosedPipes() { signal.Ignore(syscall.SIGPIPE) }
