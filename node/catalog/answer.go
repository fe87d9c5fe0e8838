package catalog

import (
	"cmp"
	"encoding/hex"
	"slices"
	"strings"

	"fire/node/admin"
	"fire/policy"
	"fire/policy/reason"
	"fire/transport/http1"
)

// Services is what `fire services` shows: control answers it from its newest view, a
// host that has lost control from its last one.
func (v *View) Services() []admin.Service {
	out := []admin.Service{}
	for _, name := range sortedKeys(v.State.Services) {
		s := v.State.Services[name]
		row := admin.Service{Service: name, Protocol: string(s.Protocol), Port: s.Port, Class: string(s.Class), Balance: string(s.Balance),
			Placed: append([]string{}, s.Nodes...), Endpoints: []admin.Endpoint{}}
		for _, e := range v.ByService(name) {
			row.Endpoints = append(row.Endpoints, admin.Endpoint{Node: e.Node, Epoch: e.Epoch, Linked: e.Linked, Healthy: e.Healthy,
				Draining: e.Draining || v.State.Nodes[e.Node].Draining, Why: e.Why})
		}
		slices.SortFunc(row.Endpoints, func(a, b admin.Endpoint) int { return strings.Compare(a.Node, b.Node) })
		out = append(out, row)
	}
	return out
}

// Try tells what the rules say of one operation. Port 0 is the service's own; a path
// without a method is asked with GET.
func (v *View) Try(q admin.PolicyQuery) (admin.PolicyVerdict, error) {
	dst, ok := v.Service(q.Dst)
	if !ok {
		return admin.PolicyVerdict{}, reason.New(reason.NoSuchService, "%q; `fire services` lists them", q.Dst)
	}
	if _, ok := v.Service(q.Src); !ok {
		return admin.PolicyVerdict{}, reason.New(reason.NoSuchService, "%q; `fire services` lists them", q.Src)
	}
	op := dst.Op()
	if q.Port != 0 {
		op.Port = q.Port
	}
	if q.Method != "" || q.Path != "" {
		target, _, _ := strings.Cut(cmp.Or(q.Path, "/"), "?")
		path, code := http1.CanonicalPath(nil, []byte(target)) // rules see the form that the proxy forwards
		if code != reason.OK {
			return admin.PolicyVerdict{Src: q.Src, Dst: q.Dst, Reason: code.String()}, nil
		}
		op = policy.Op{Port: op.Port, Method: q.Method, Path: string(path)}
		if op.Method == "" {
			op.Method = "GET"
		}
	}
	d := v.State.Domain
	verdict := v.Table.Authorize(d.Service(q.Src), d.Service(q.Dst), op)
	return admin.PolicyVerdict{Src: q.Src, Dst: q.Dst, Allowed: verdict.Allowed, Reason: verdict.Code.String(), Rule: verdict.Rule,
		Bundle: hex.EncodeToString(verdict.Bundle[:])}, nil
}
