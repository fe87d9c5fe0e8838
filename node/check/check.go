package check

import (
	"fmt"
	"slices"
	"time"

	"fire/node/admin"
)

// State is how a check came out.
type State string

const (
	OK   State = "ok"
	Warn State = "warn" // worth a look; does not make the check fail
	Fail State = "fail"
	Skip State = "skip" // cannot be told; the text says why
)

// Check is one thing that is looked at.
type Check struct {
	Code  string `json:"code"`
	Group string `json:"group"`
	Title string `json:"title"` // what holds when it is ok
	Cause string `json:"cause"` // why it may not hold
	Fix   string `json:"fix"`   // what to do then
	judge func(*Facts) verdict
}

// Finding is a check with its outcome.
type Finding struct {
	Code  string `json:"code"`
	Group string `json:"group"`
	Title string `json:"title"`
	State State  `json:"state"`
	Text  string `json:"text,omitempty"`
	Fix   string `json:"fix,omitempty"` // of what is not ok
}

// verdict is what a judge says of the facts.
type verdict struct {
	state State
	text  string
}

func ok(format string, args ...any) verdict   { return verdict{OK, fmt.Sprintf(format, args...)} }
func warn(format string, args ...any) verdict { return verdict{Warn, fmt.Sprintf(format, args...)} }
func fail(format string, args ...any) verdict { return verdict{Fail, fmt.Sprintf(format, args...)} }
func skip(format string, args ...any) verdict { return verdict{Skip, fmt.Sprintf(format, args...)} }

// Facts is everything that checks look at. A nil pointer is a fact that could not
// be had; the error beside it says why.
type Facts struct {
	Now  time.Time
	Host Host

	ConfigPath     string   // "" when no file is named and none is found
	ConfigProblems []string // of the file as it is on disk now
	ConfigDigest   string   // of the file as it is on disk now

	AskErr      error // why no process could be asked
	Info        *admin.Info
	Status      *admin.Status
	StatusErr   error
	Services    []admin.Service
	ServicesErr error
	Edges       []admin.Edge
	EdgesErr    error
	CA          *admin.CA
	CAErr       error
	Refusals    []admin.Refusal

	Direct *Direct // nil when nobody asked for it
}

// Host is what the kernel says. A negative number could not be read.
type Host struct {
	OS             string
	CPUs           int
	OpenFilesSoft  int64
	OpenFilesHard  int64
	RmemMaxBytes   int64
	WmemMaxBytes   int64
	ListenQueueMax int64
	LocalPorts     int64 // how many the kernel gives to outgoing connections
	MemFreeBytes   int64
	MemBytes       int64
	SwapUsedBytes  int64
	Dir            string // the state folder, "" when not known
	DirErr         string
	DirMode        uint32
	DirFreeBytes   int64
	RuntimeDir     string
	RuntimeDirErr  string
	ClockSynced    int           // 1 yes, 0 no, -1 not known
	ClockMaxError  time.Duration // the kernel's own bound
	ClockSource    string
	LoopbackUDPErr string
}

// Groups in the order in which they are shown.
func Groups() []string {
	return []string{"host", "clock", "config", "identity", "control", "proxies", "services", DirectGroup}
}

// DirectGroup is of the hosts that have the direct path: it runs when it is named, or when
// its facts are there.
const DirectGroup = "direct"

// Checks is every check, in order.
func Checks() []Check {
	return slices.Concat(hostChecks, clockChecks, configChecks, identityChecks, controlChecks, proxyChecks, serviceChecks,
		directCoreChecks, directMemoryChecks, directNetworkChecks, directKernelChecks)
}

// Find is the check with that code.
func Find(code string) (Check, bool) {
	for _, c := range Checks() {
		if c.Code == code {
			return c, true
		}
	}
	return Check{}, false
}

// Run judges the facts; groups limits it to some groups, none means all but the direct one
// when there are no facts for it.
func Run(f *Facts, groups ...string) []Finding {
	var out []Finding
	for _, c := range Checks() {
		if len(groups) > 0 && !slices.Contains(groups, c.Group) || len(groups) == 0 && c.Group == DirectGroup && f.Direct == nil {
			continue
		}
		v := c.judge(f)
		finding := Finding{Code: c.Code, Group: c.Group, Title: c.Title, State: v.state, Text: v.text}
		if v.state == Warn || v.state == Fail {
			finding.Fix = c.Fix
			if c.Group == DirectGroup && f.Direct != nil {
				finding.Fix = f.Direct.withPlaces(c.Fix)
			}
		}
		out = append(out, finding)
	}
	return out
}

// Count is how many findings have that state.
func Count(list []Finding, s State) (n int) {
	for _, f := range list {
		if f.State == s {
			n++
		}
	}
	return n
}

// needInfo is a judge that needs the process on this host.
func needInfo(judge func(*Facts, *admin.Info) verdict) func(*Facts) verdict {
	return func(f *Facts) verdict {
		if f.Info == nil {
			return skip("no fire runs on this host that could be asked")
		}
		return judge(f, f.Info)
	}
}

// needStatus is a judge that needs the state of the mesh.
func needStatus(judge func(*Facts, *admin.Status) verdict) func(*Facts) verdict {
	return func(f *Facts) verdict {
		if f.Status == nil {
			return skip("the state of the mesh is not known: %s", why(f.StatusErr, f.AskErr))
		}
		return judge(f, f.Status)
	}
}

func why(errs ...error) string {
	for _, err := range errs {
		if err != nil {
			return err.Error()
		}
	}
	return "nothing answered"
}

// names joins a few names and says how many more there are.
func names(list []string) string {
	const shown = 5
	slices.Sort(list)
	list = slices.Compact(list)
	text := ""
	for i, n := range list {
		if i == shown {
			return fmt.Sprintf("%s and %d more", text, len(list)-shown)
		}
		if i > 0 {
			text += ", "
		}
		text += n
	}
	return text
}
