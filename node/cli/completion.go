package cli

import (
	"context"
	"fmt"
	"strings"
)

func completionVerb() *verb {
	return &verb{
		name: "completion", brief: "print the completion script of a shell", args: "bash|zsh|fish", least: 1, most: 1,
		examples: []example{
			{"source <(fire completion bash)", "complete in this shell"},
			{"fire completion zsh > ~/.zfunc/_fire", "complete in every zsh"},
			{"fire completion fish > ~/.config/fish/completions/fire.fish", "complete in every fish"},
		},
		run: func(_ context.Context, c *call) error {
			switch c.args[0] {
			case "bash":
				c.printf("%s", completeBash(c.root))
			case "zsh":
				// zsh runs bash completions once bashcompinit is loaded (zshcompsys(1)).
				c.printf("#compdef fire\nautoload -U +X bashcompinit && bashcompinit\n%s", completeBash(c.root))
			case "fish":
				c.printf("%s", completeFish(c.root))
			}
			return nil
		},
	}
}

// completeBash is a table of "words so far" to what may follow, and a function that
// looks the longest known prefix up. It calls no program, so it is quick and works
// without a running mesh.
func completeBash(root *verb) string {
	var b strings.Builder
	b.WriteString("_fire() {\n  local word cur=\"${COMP_WORDS[COMP_CWORD]}\" prev=\"${COMP_WORDS[COMP_CWORD-1]}\" path=fire next\n")
	b.WriteString("  for word in \"${COMP_WORDS[@]:1:COMP_CWORD-1}\"; do\n    case \"$path $word\" in\n")
	root.walk([]string{root.name}, func(path []string, _ *verb) {
		if len(path) > 1 {
			fmt.Fprintf(&b, "      %q) path=%q ;;\n", strings.Join(path, " "), strings.Join(path, " "))
		}
	})
	b.WriteString("    esac\n  done\n  case \"$path $prev\" in\n")
	root.walk([]string{root.name}, func(path []string, v *verb) {
		for _, f := range v.flags {
			if len(f.words) == 0 {
				continue
			}
			names := fmt.Sprintf("%q", strings.Join(path, " ")+" --"+f.name)
			if f.short != "" {
				names += fmt.Sprintf("|%q", strings.Join(path, " ")+" -"+f.short)
			}
			fmt.Fprintf(&b, "    %s) COMPREPLY=($(compgen -W %q -- \"$cur\")); return ;;\n", names, strings.Join(f.words, " "))
		}
	})
	b.WriteString("  esac\n  case \"$path\" in\n")
	root.walk([]string{root.name}, func(path []string, v *verb) {
		fmt.Fprintf(&b, "    %q) next=%q ;;\n", strings.Join(path, " "), strings.Join(v.following(), " "))
	})
	b.WriteString("  esac\n  COMPREPLY=($(compgen -W \"$next\" -- \"$cur\"))\n")
	b.WriteString("  [ ${#COMPREPLY[@]} -eq 0 ] && compopt -o default 2>/dev/null\n}\ncomplete -F _fire fire\n")
	return b.String()
}

// following lists the words that may come next: verbs, words of the arguments, flags.
func (v *verb) following() []string {
	out := v.names()
	if strings.Contains(v.args, "|") {
		out = append(out, strings.Split(v.args, "|")...)
	}
	for _, f := range v.flags {
		out = append(out, "--"+f.name)
	}
	return append(out, "--help")
}

func completeFish(root *verb) string {
	var b strings.Builder
	b.WriteString("# completions of fire\ncomplete -c fire -l help -d 'explain the verb'\n")
	root.walk(nil, func(path []string, v *verb) {
		seen := "not __fish_seen_subcommand_from " + strings.Join(append(v.names(), "help"), " ")
		for _, word := range path {
			seen = "__fish_seen_subcommand_from " + word + "; and " + seen
		}
		for _, child := range v.verbs {
			fmt.Fprintf(&b, "complete -c fire -n %s -f -a %s -d %s\n", quote(seen), child.name, quote(child.brief))
		}
		on := make([]string, len(path))
		for i, word := range path {
			on[i] = "__fish_seen_subcommand_from " + word
		}
		condition := quote(strings.Join(on, "; and "))
		if strings.Contains(v.args, "|") {
			fmt.Fprintf(&b, "complete -c fire -n %s -f -a %s\n", condition, quote(strings.ReplaceAll(v.args, "|", " ")))
		}
		for _, f := range v.flags {
			fmt.Fprintf(&b, "complete -c fire -n %s -l %s", condition, f.name)
			if f.short != "" {
				b.WriteString(" -s " + f.short)
			}
			if f.kind != kindBool {
				b.WriteString(" -r")
			}
			if len(f.words) > 0 {
				b.WriteString(" -f -a " + quote(strings.Join(f.words, " ")))
			}
			fmt.Fprintf(&b, " -d %s\n", quote(f.brief))
		}
	})
	return b.String()
}

func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", `\'`) + "'" }
