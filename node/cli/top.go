package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	tea "charm.land/bubbletea/v2"

	"fire/node/admin"
)

func topVerb() *verb {
	return &verb{
		name: "top", brief: "watch the edges live, sorted",
		about: `Keys: r rate, e errors, l p99 latency, b bytes, n name choose the order; again turns it round; / filters by service; space stops and goes on; q ends. When standard output is no terminal, or with --once, it prints the table once.`,
		flags: askFlags(
			flag{name: "sort", kind: kindString, value: "KEY", def: "rate", words: []string{"rate", "errors", "latency", "bytes", "name"}, brief: "rate, errors, latency, bytes or name"},
			flag{name: "every", kind: kindDuration, value: "TIME", def: "1s", brief: "how often to look"},
			flag{name: "rows", kind: kindInt, value: "N", def: "0", brief: "with --once: at most N edges, 0 for all"},
			flag{name: "once", kind: kindBool, brief: "print once and end"}),
		examples: []example{
			{"fire top", "the busiest edges first"},
			{"fire top --sort errors", "the worst first"},
			{"fire top --once --rows 5 -o json", "the five busiest, for programs (fire.top/v1)"},
		},
		run: asking(top, func(c *call) error {
			if every := c.duration("every"); every < 100*time.Millisecond {
				return usage("", "--every %v is below 100ms", every)
			}
			return nil
		}),
	}
}

func top(ctx context.Context, c *call, a *admin.Client) error {
	if c.bool("once") || c.given("output") || !isTerminal(c.out) || !isTerminal(c.in) {
		edges, err := a.Edges(ctx)
		if err != nil {
			return err
		}
		sortEdges(edges, c.string("sort"), false)
		if n := c.int("rows"); n > 0 && int(n) < len(edges) {
			edges = edges[:n]
		}
		return printList(c, "fire.top/v1", edges, edgeColumns, "no traffic was seen in the last ten seconds")
	}
	screen := &topScreen{call: c, client: a, ctx: ctx, every: c.duration("every"), order: c.string("sort")}
	_, err := tea.NewProgram(screen, tea.WithContext(ctx), tea.WithInput(c.in), tea.WithOutput(c.out), tea.WithoutSignalHandler()).Run()
	if errors.Is(err, tea.ErrInterrupted) || errors.Is(err, tea.ErrProgramKilled) && ctx.Err() != nil {
		return nil // Ctrl-C is how one leaves
	}
	return err
}

// sortEdges orders by key, the greatest first unless it is a name; ties by name, so
// that lines do not jump.
func sortEdges(edges []admin.Edge, key string, turned bool) {
	slices.SortStableFunc(edges, func(a, b admin.Edge) int {
		byName := cmp.Or(strings.Compare(a.Src, b.Src), strings.Compare(a.Dst, b.Dst), strings.Compare(a.Protocol, b.Protocol))
		by := 0
		switch key {
		case "rate":
			by = cmp.Compare(b.RatePerSecond, a.RatePerSecond)
		case "errors":
			by = cmp.Or(cmp.Compare(b.ErrorsPerSecond, a.ErrorsPerSecond), cmp.Compare(b.ErrorRatio, a.ErrorRatio))
		case "latency":
			by = cmp.Compare(b.P99NS, a.P99NS)
		case "bytes":
			by = cmp.Compare(b.BytesPerSecond, a.BytesPerSecond)
		default:
			by = byName
		}
		if turned {
			by = -by
		}
		return cmp.Or(by, byName)
	})
}

// topScreen is the live table. Its methods run on the one goroutine of the program.
type topScreen struct {
	call   *call
	client *admin.Client
	ctx    context.Context // of the verb: the program's callbacks take none
	every  time.Duration

	edges  []admin.Edge
	err    error
	at     time.Time
	order  string
	turned bool
	filter string
	typing bool // the filter
	paused bool
	width  int
	height int
}

// looked is the answer of one question to the process.
type looked struct {
	edges []admin.Edge
	err   error
	at    time.Time
}

func (s *topScreen) look() tea.Msg {
	edges, err := s.client.Edges(s.ctx)
	return looked{edges, err, time.Now()}
}

type due struct{}

// Init asks for the first time.
func (s *topScreen) Init() tea.Cmd { return s.look }

// Update takes an answer or a key.
func (s *topScreen) Update(msg tea.Msg) (tea.Model, tea.Cmd) {
	switch msg := msg.(type) {
	case tea.WindowSizeMsg:
		s.width, s.height = msg.Width, msg.Height
	case looked:
		if !s.paused {
			s.at, s.err = msg.at, msg.err
			if msg.err == nil {
				s.edges = msg.edges
			}
		}
		return s, tea.Tick(s.every, func(time.Time) tea.Msg { return due{} })
	case due:
		return s, s.look
	case tea.KeyPressMsg:
		return s, s.key(msg.String())
	}
	return s, nil
}

func (s *topScreen) key(k string) tea.Cmd {
	if k == "ctrl+c" {
		return tea.Quit
	}
	if s.typing {
		switch {
		case k == "enter":
			s.typing = false
		case k == "esc":
			s.typing, s.filter = false, ""
		case k == "backspace":
			_, size := utf8.DecodeLastRuneInString(s.filter)
			s.filter = s.filter[:len(s.filter)-size]
		case utf8.RuneCountInString(k) == 1 && len(s.filter) < 64:
			s.filter += k
		}
		return nil
	}
	orders := map[string]string{"r": "rate", "e": "errors", "l": "latency", "b": "bytes", "n": "name"}
	switch order, ok := orders[k]; {
	case ok && order == s.order:
		s.turned = !s.turned
	case ok:
		s.order, s.turned = order, false
	case k == "/":
		s.typing, s.filter = true, ""
	case k == "space" || k == " ":
		s.paused = !s.paused
	case k == "esc":
		s.filter = ""
	case k == "q":
		return tea.Quit
	}
	return nil
}

// View draws the table, cut to the window.
func (s *topScreen) View() tea.View {
	v := tea.NewView(s.text())
	v.AltScreen = true
	return v
}

func (s *topScreen) text() string {
	kept := make([]admin.Edge, 0, len(s.edges))
	var rate, errs float64
	for _, e := range s.edges {
		rate, errs = rate+e.RatePerSecond, errs+e.ErrorsPerSecond
		if s.filter == "" || strings.Contains(e.Src, s.filter) || strings.Contains(e.Dst, s.filter) {
			kept = append(kept, e)
		}
	}
	sortEdges(kept, s.order, s.turned)
	var b strings.Builder
	fmt.Fprintf(&b, "fire top  %d edges  %s requests/s  %s errors/s  by %s", len(s.edges), showRate(rate), showRate(errs), s.order)
	if s.paused {
		b.WriteString("  stopped")
	}
	if s.filter != "" || s.typing {
		b.WriteString("  /" + oneLine(s.filter))
	}
	b.WriteString("\n")
	if s.err != nil {
		b.WriteString(oneLine(s.err.Error()))
	}
	b.WriteString("\n")
	room := len(kept)
	if s.height > 0 {
		room = min(room, max(0, s.height-4))
	}
	wide := s.width >= 150
	for line := range strings.Lines(s.call.table(items2rows(kept[:room], edgeColumns, wide))) {
		b.WriteString(cut(strings.TrimRight(line, " \n"), s.width) + "\n")
	}
	b.WriteString("r rate  e errors  l latency  b bytes  n name  / filter  space stop  q end")
	return b.String()
}

// cut shortens a line to width columns; escapes of colour take none.
func cut(line string, width int) string {
	if width <= 0 {
		return line
	}
	columns, escape := 0, false
	for i, r := range line {
		switch {
		case r == '\x1b':
			escape = true
		case escape:
			escape = r != 'm'
		default:
			if columns++; columns > width {
				return line[:i] + "\x1b[0m"
			}
		}
	}
	return line
}
