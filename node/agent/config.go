package agent

import (
	"net"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"fire/policy/id"
	"fire/policy/pki"
)

// Config is the [agent] table: how this host keeps in touch with control.
type Config struct {
	// Token refers to the join token, "file:PATH" or "cred:NAME". It is read only while
	// the host has no identity, and may be removed afterwards. Unit: reference.
	// Default: "", which is no token. Needs a restart.
	Token pki.SecretRef `toml:"token"`
	// Controls are addresses of control to try besides those that the join gave.
	// Unit: host:port. Default: [], the token carries them. Needs a restart.
	Controls []string `toml:"controls"`
	// ReconnectMin is the first wait after every address of control failed; it doubles
	// and is spread by up to half. Unit: duration. Default: "50ms". Needs a restart.
	ReconnectMin time.Duration `toml:"reconnect_min"`
	// ReconnectMax is the longest such wait; keep it below the lease, so that a restart
	// of control costs no endpoint. Unit: duration. Default: "2s". Needs a restart.
	ReconnectMax time.Duration `toml:"reconnect_max"`
	// DialTimeout bounds one handshake with control and the welcome after it. Unit:
	// duration. Default: "5s". Needs a restart.
	DialTimeout time.Duration `toml:"dial_timeout"`
	// WriteTimeout cuts a link to a control that takes no bytes for so long. Unit:
	// duration. Default: "5s". Needs a restart.
	WriteTimeout time.Duration `toml:"write_timeout"`
}

// Default is the [agent] table without keys.
func Default() Config {
	return Config{ReconnectMin: 50 * time.Millisecond, ReconnectMax: 2 * time.Second, DialTimeout: 5 * time.Second, WriteTimeout: 5 * time.Second}
}

// Check reports everything wrong with the table.
func (c *Config) Check(bad func(key, problem string)) {
	if len(c.Controls) > pki.ControlsMax {
		bad("controls", "more than "+strconv.Itoa(pki.ControlsMax)+" addresses")
	}
	for _, addr := range c.Controls {
		if problem := addressProblem(addr); problem != "" {
			bad("controls", problem)
		}
	}
	within(bad, "reconnect_min", c.ReconnectMin, time.Millisecond, time.Minute)
	within(bad, "reconnect_max", c.ReconnectMax, max(c.ReconnectMin, time.Millisecond), 10*time.Minute)
	within(bad, "dial_timeout", c.DialTimeout, 100*time.Millisecond, time.Minute)
	within(bad, "write_timeout", c.WriteTimeout, 100*time.Millisecond, time.Minute)
}

// Service is one [service.NAME] table: a service of the floor that runs on this host.
type Service struct {
	// Address of the local application, "host:port" or "unix:/path". Unit: address.
	// Default: "", which is a service that only calls others. Needs a restart.
	Address string `toml:"address"`
	// Protocol that the application speaks, to notice a floor that says another: such
	// an endpoint is not healthy. Unit: word. Default: "", which is what the floor says.
	// Needs a restart.
	Protocol string `toml:"protocol"`
	// Weight of this endpoint among those of the service. Unit: number from 1 to 100.
	// Default: 1. Needs a restart.
	Weight int `toml:"weight"`
	// Health says how to find out whether the application works.
	Health Health `toml:"health"`
}

// Health is one [service.NAME.health] table.
type Health struct {
	// Type of check: "tcp" connects, "http" asks for path and wants 2xx or 3xx,
	// "command" wants exit status 0, "none" takes the application as healthy. Unit:
	// word. Default: "tcp". Needs a restart.
	Type string `toml:"type"`
	// Path asked by "http". Unit: path. Default: "/". Needs a restart.
	Path string `toml:"path"`
	// Command run by "command": the program, absolute, and its arguments; no shell. Its
	// first line of output is the reason shown. Unit: words. Default: []. Needs a restart.
	Command []string `toml:"command"`
	// Interval between checks. Unit: duration. Default: "200ms", for "command" "5s".
	// Needs a restart.
	Interval time.Duration `toml:"interval"`
	// Timeout of one check. Unit: duration. Default: "1s", for "command" "2s". Needs a
	// restart.
	Timeout time.Duration `toml:"timeout"`
	// Rise is how many checks in a row must pass to become healthy again. The first
	// check of all decides alone. Unit: number. Default: 2. Needs a restart.
	Rise int `toml:"rise"`
	// Fall is how many checks in a row must fail to become unhealthy. A refused
	// connection decides alone. Unit: number. Default: 2. Needs a restart.
	Fall int `toml:"fall"`
}

// The types of health check.
const (
	CheckTCP     = "tcp"
	CheckHTTP    = "http"
	CheckCommand = "command"
	CheckNone    = "none"
)

// DefaultService is a [service.NAME] table without keys. Interval and timeout zero
// mean the default of the type.
func DefaultService() Service {
	return Service{Weight: 1, Health: Health{Type: CheckTCP, Path: "/", Rise: 2, Fall: 2}}
}

// filled puts the type's defaults where the table says nothing.
func (h Health) filled() Health {
	interval, timeout := 200*time.Millisecond, time.Second
	if h.Type == CheckCommand {
		interval, timeout = 5*time.Second, 2*time.Second
	}
	if h.Interval == 0 {
		h.Interval = interval
	}
	if h.Timeout == 0 {
		h.Timeout = timeout
	}
	return h
}

// Check reports everything wrong with the table.
func (s *Service) Check(bad func(key, problem string)) {
	if s.Address != "" {
		if problem := addressProblem(s.Address); problem != "" {
			bad("address", problem)
		}
	}
	switch s.Protocol {
	case "", "tcp", "http", "fix", "soupbin":
	default:
		bad("protocol", `want "tcp", "http", "fix" or "soupbin"`)
	}
	if s.Weight < 1 || s.Weight > 100 {
		bad("weight", "want 1 to 100")
	}
	s.Health.check(func(key, problem string) { bad("health."+key, problem) })
}

func (h *Health) check(bad func(key, problem string)) {
	switch h.Type {
	case CheckTCP, CheckNone:
	case CheckHTTP:
		if !strings.HasPrefix(h.Path, "/") || strings.ContainsAny(h.Path, " \r\n\x00#") || len(h.Path) > 1024 {
			bad("path", "want an absolute path without blanks")
		}
	case CheckCommand:
		if len(h.Command) == 0 || !strings.HasPrefix(h.Command[0], "/") {
			bad("command", `want ["/absolute/program", "argument", ...]`)
		}
	default:
		bad("type", `want "tcp", "http", "command" or "none"`)
	}
	filled := h.filled()
	within(bad, "interval", filled.Interval, 10*time.Millisecond, time.Hour)
	within(bad, "timeout", filled.Timeout, 10*time.Millisecond, time.Minute)
	if h.Rise < 1 || h.Rise > 100 {
		bad("rise", "want 1 to 100")
	}
	if h.Fall < 1 || h.Fall > 100 {
		bad("fall", "want 1 to 100")
	}
}

func within(bad func(key, problem string), key string, d, least, most time.Duration) {
	if d < least || d > most {
		bad(key, d.String()+" is not "+least.String()+" to "+most.String())
	}
}

func addressProblem(s string) string {
	if path, ok := strings.CutPrefix(s, "unix:"); ok {
		if !strings.HasPrefix(path, "/") || len(path) > 100 {
			return "want unix: and an absolute path of at most 100 bytes"
		}
		return ""
	}
	host, port, err := net.SplitHostPort(s)
	if n, perr := strconv.ParseUint(port, 10, 16); err != nil || host == "" || perr != nil || n == 0 {
		return strconv.Quote(s) + " is not host:port"
	}
	return ""
}

// Host is what the agent must know of the machine and its process.
type Host struct {
	Name      string    // "": the token's, else the first label of the machine's name
	Domain    id.Domain // zero: the token's
	Dir       string    // state folder of the agent alone, 0700
	Zone      string
	Release   string
	Roles     []string
	Listen    netip.AddrPort // where the mesh's socket is bound
	Advertise string         // where others dial it; "" derives it from Listen and the route to control
	Uses      []string       // services that this host dials as, besides the ones it runs
}
