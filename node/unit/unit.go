package unit

import (
	_ "embed"
	"fmt"
	"slices"
	"strings"
)

//go:embed fire.service
var template string

// Roles that have a unit.
func Roles() []string { return []string{"control", "proxy", "direct"} }

// rights are the lines in which the roles differ.
type rights struct{ memlock, capabilities, proc string }

// What control and proxy need is nothing; the direct role must see who attaches.
var (
	plain = rights{"", `# No privilege, no device, no write outside its own folders. A port below 1024 needs
# CAP_NET_BIND_SERVICE in both of the next lines, and PrivateUsers=no.
CapabilityBoundingSet=
AmbientCapabilities=
PrivateUsers=yes`, "ProtectProc=invisible"}
	ofDirect = rights{`# Rings are memory that must stay where it is. They are no System V or POSIX objects, so
# RemoveIPC does not touch them. Keep this process off the cores of those who spin:
#CPUAffinity=0 1
LimitMEMLOCK=infinity
`, `# One privilege: to read which executable a program of another user is. In a user
# namespace of its own it would take every program for nobody.
CapabilityBoundingSet=CAP_SYS_PTRACE
AmbientCapabilities=CAP_SYS_PTRACE
PrivateUsers=no`, "ProtectProc=default"}
)

// Text is the unit for one or several roles, such as "control,proxy", and its file name.
func Text(roles string) (name, text string, err error) {
	list := strings.Split(roles, ",")
	for i, r := range list {
		if !slices.Contains(Roles(), r) {
			return "", "", fmt.Errorf("there is no unit for %q; the roles are: %s, or several with commas", r, strings.Join(Roles(), ", "))
		}
		if slices.Contains(list[:i], r) {
			return "", "", fmt.Errorf("role %q stands twice", r)
		}
	}
	slices.Sort(list)
	dashed := strings.Join(list, "-")
	rights := plain
	if slices.Contains(list, "direct") {
		rights = ofDirect
	}
	text = strings.NewReplacer("ROLES", strings.Join(list, ","), "ROLE", dashed, "MEMLOCK", rights.memlock,
		"CAPABILITIES", rights.capabilities, "PROC", rights.proc).Replace(template)
	return "fire-" + dashed + ".service", text, nil
}
