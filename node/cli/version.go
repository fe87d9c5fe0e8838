package cli

import (
	"context"
	"runtime"
	"runtime/debug"

	"fire/node/unit"
	"fire/transport/frame"
)

func versionVerb() *verb {
	return &verb{
		name: "version", brief: "print the release, the revision and the wire version",
		flags: []flag{outputFlag()},
		examples: []example{
			{"fire version", "for people"},
			{"fire version -o json", "for programs (fire.version/v1)"},
		},
		run: func(_ context.Context, c *call) error {
			v := version()
			return printOne(c, "fire.version/v1", v, func() {
				c.printf("fire %s", v.Release)
				if v.Revision != "" {
					c.printf(" (%s)", v.Revision)
				}
				c.printf(" %s %s, frame version %d\n", v.Go, v.Platform, v.Frame)
			})
		},
	}
}

type versionFacts struct {
	Release  string `json:"release"`
	Revision string `json:"revision,omitempty"` // of the source, with + when it was changed
	Go       string `json:"go"`
	Platform string `json:"platform"`
	Frame    int    `json:"frame_version"` // spoken between proxies
}

func version() versionFacts {
	v := versionFacts{Release: release(), Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH, Frame: frame.Version}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return v
	}
	changed := ""
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			v.Revision = s.Value[:min(12, len(s.Value))]
		case "vcs.modified":
			if s.Value == "true" {
				changed = "+"
			}
		}
	}
	if v.Revision != "" {
		v.Revision += changed
	}
	return v
}

func unitVerb() *verb {
	return &verb{
		name: "unit", brief: "print the systemd unit of a role", args: "ROLE[,ROLE]", least: 1, most: 1,
		about: `The unit is hardened (systemd-analyze security: 1.3), of Type=notify with a watchdog, and drains on stop. Nothing is installed; the first lines of the unit say how to.`,
		examples: []example{
			{"fire unit proxy", "a host that carries services"},
			{"fire unit control,proxy", "both in one process"},
			{"fire unit direct", "channels alone: it may lock memory and see which programs attach"},
		},
		run: func(_ context.Context, c *call) error {
			_, text, err := unit.Text(c.args[0])
			if err != nil {
				return usage("", "%s", err)
			}
			c.printf("%s", text)
			return nil
		},
	}
}

// release is the program's version, as `fire version` and every node say it.
func release() string { return "0.1.0" }
