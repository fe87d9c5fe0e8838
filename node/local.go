package node

import (
	"cmp"
	"context"
	"os"
	"runtime"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"fire/audit/index"
	"fire/node/admin"
	"fire/node/control"
	"fire/policy/pki"
)

// local answers the admin API for this process.
type local struct {
	base    admin.Info // what does not change
	hosts   []*host
	control *control.Control // nil without the role
	index   *index.Index     // over its audit logs; nil: none
	ledger  *auditLog        // where is recorded what is asked of this process; nil: nowhere
	looked  looked
}

// newLocal answers for hosts, and for the control whose log is ledger, if there is one.
func newLocal(base admin.Info, hosts []*host, ledger *auditLog, x *index.Index) *local {
	l := &local{base: base, hosts: hosts, ledger: ledger, index: x}
	if ledger == nil && len(hosts) > 0 {
		l.ledger = hosts[0].audit
	}
	return l
}

func newBase(release string, roles []string, started time.Time) admin.Info {
	var files unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_NOFILE, &files) != nil {
		files.Cur = 0
	}
	// What the process may use; how much of it watchProcessors grants moves with the load.
	return admin.Info{MaxProcs: runtime.GOMAXPROCS(0), Release: release, Roles: roles, PID: os.Getpid(), StartedAt: started.UTC(), OpenFilesMax: files.Cur}
}

// Info reads the runtime's figures without stopping the world.
func (l *local) Info(context.Context) (admin.Info, error) {
	i := l.base
	i.Goroutines, i.HeapBytes = runtime.NumGoroutine(), heapBytes()
	i.MeterPages, i.Certificates, i.Listeners = []string{}, []admin.CertInfo{}, []admin.Listener{}
	for _, h := range l.hosts {
		h.info(&i)
	}
	if l.control != nil {
		if c, ok := certInfo(l.control.Certificate()); ok {
			i.Certificates = append(i.Certificates, c)
		}
		i.Version, i.SnapshotAgeMS = l.control.View().State.Version, 0
	}
	return i, nil
}

// Flows lists the live flows, oldest first.
func (l *local) Flows(context.Context) ([]admin.Flow, error) {
	out := []admin.Flow{}
	for _, h := range l.hosts {
		if h.proxy != nil {
			out = append(out, h.proxy.Flows()...)
		}
	}
	slices.SortStableFunc(out, func(a, b admin.Flow) int { return a.Since.Compare(b.Since) })
	return out, nil
}

// Refusals lists what was refused, newest first.
func (l *local) Refusals(context.Context) ([]admin.Refusal, error) {
	out := []admin.Refusal{}
	for _, h := range l.hosts {
		if h.proxy != nil {
			out = append(out, h.proxy.Refusals()...)
		}
	}
	slices.SortStableFunc(out, func(a, b admin.Refusal) int { return cmp.Or(b.At.Compare(a.At), cmp.Compare(a.Node, b.Node)) })
	return out, nil
}

// certInfo describes an identity's certificate, or nothing when it has none.
func certInfo(i *pki.Identity) (admin.CertInfo, bool) {
	if i == nil || i.Leaf() == nil {
		return admin.CertInfo{}, false
	}
	leaf := i.Leaf()
	return admin.CertInfo{ID: i.Principal().String(), NotBefore: leaf.NotBefore, NotAfter: leaf.NotAfter, RenewAt: i.RenewAt(),
		Serial: leaf.SerialNumber.Text(16)}, true
}
