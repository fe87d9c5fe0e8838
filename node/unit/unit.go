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
func Roles() []string { return []string{"control", "proxy"} }

// Text is the unit for one or several roles, such as "control,proxy", and its file name.
func Text(roles string) (name, text string, err error) {
	list := strings.Split(roles, ",")
	for i, r := range list {
		if !slices.Contains(Roles(), r) {
			return "", "", fmt.Errorf("there is no unit for %q; the roles are: %s, or both with a comma", r, strings.Join(Roles(), ", "))
		}
		if slices.Contains(list[:i], r) {
			return "", "", fmt.Errorf("role %q stands twice", r)
		}
	}
	slices.Sort(list)
	dashed := strings.Join(list, "-")
	text = strings.NewReplacer("ROLES", strings.Join(list, ","), "ROLE", dashed).Replace(template)
	return "fire-" + dashed + ".service", text, nil
}
