package check

import (
	"fmt"
	"strings"
	"time"

	"fire/node/admin"
)

type (
	infoT   = admin.Info
	statusT = admin.Status
)

var configChecks = []Check{
	{"FIRE-CONFIG-001", "config", "mesh.toml can be read and is right",
		"The file on disk has errors; the process that runs may have read an earlier one.",
		"`fire config check FILE` shows every problem with its line.",
		func(f *Facts) verdict {
			switch n := len(f.ConfigProblems); {
			case f.ConfigPath == "":
				return skip("no mesh.toml is named and none is known to the running process")
			case n > 0:
				return fail("%s: %d problems, the first: %s", f.ConfigPath, n, f.ConfigProblems[0])
			default:
				return ok("%s", f.ConfigPath)
			}
		}},
	{"FIRE-CONFIG-002", "config", "the process runs what the file says",
		"The file was changed after the process started; some keys take effect only with a restart.",
		"`fire config diff OLD NEW` shows what needs it; then restart the unit.",
		needInfo(func(f *Facts, i *infoT) verdict {
			switch {
			case i.Dev || i.ConfigPath == "":
				return skip("the process reads no file")
			case f.ConfigPath != i.ConfigPath || f.ConfigDigest == "":
				return skip("the process's file %s was not looked at", i.ConfigPath)
			case f.ConfigDigest != i.ConfigDigest:
				return warn("%s has changed since the start", f.ConfigPath)
			}
			return ok("")
		})},
	{"FIRE-CONFIG-003", "config", "the map and the metrics are not open to the network",
		"They are served in plain HTTP without a login; beyond loopback anybody may read them.",
		"Listen on 127.0.0.1 in [web] and [admin], and put a proxy with a login in front.",
		needInfo(func(_ *Facts, i *infoT) verdict {
			for _, u := range []string{i.MapURL, i.MetricsURL} {
				if u != "" && !strings.Contains(u, "//127.") && !strings.Contains(u, "//[::1]") && !strings.Contains(u, "//localhost") {
					return warn("%s", u)
				}
			}
			return ok("")
		})},
	{"FIRE-CONFIG-004", "config", "every listener is bound",
		"A port that another program holds stops the start; a process that runs without listeners serves nothing.",
		"See which program holds the port: `ss -tulpn`.",
		needInfo(func(_ *Facts, i *infoT) verdict {
			if len(i.Listeners) == 0 {
				return fail("the process has no listener")
			}
			return ok("%d listeners", len(i.Listeners))
		})},
}

// rootWarn is how long before its end a root should be rotated.
const rootWarn = 60 * 24 * time.Hour

var identityChecks = []Check{
	{"FIRE-IDENTITY-001", "identity", "this process holds an identity",
		"The node has not joined, or lost its keys.",
		"Join it: `fire token create` on a control host, then start with --token.",
		needInfo(func(_ *Facts, i *infoT) verdict {
			if len(i.Certificates) == 0 {
				return fail("it holds no certificate")
			}
			return ok("%d certificates", len(i.Certificates))
		})},
	{"FIRE-IDENTITY-002", "identity", "this process's certificates are valid now",
		"A certificate has ended or has not begun: renewal failed, or a clock is wrong.",
		"`fire explain cert_expired`; compare clocks, then look at the link to control.",
		needInfo(func(f *Facts, i *infoT) verdict {
			var bad []string
			for _, c := range i.Certificates {
				if f.Now.After(c.NotAfter) || f.Now.Before(c.NotBefore) {
					bad = append(bad, c.ID)
				}
			}
			if len(bad) > 0 {
				return fail("%s", names(bad))
			}
			return ok("")
		})},
	{"FIRE-IDENTITY-003", "identity", "this process's certificates are renewed in time",
		"A certificate is past the time of its renewal; when it ends, its flows are refused.",
		"Look at the link to control and at the log's lines with reason=control_unreachable.",
		needInfo(func(f *Facts, i *infoT) verdict {
			var late []string
			for _, c := range i.Certificates {
				if !c.RenewAt.IsZero() && f.Now.After(c.RenewAt.Add(10*time.Minute)) && f.Now.Before(c.NotAfter) {
					late = append(late, fmt.Sprintf("%s (ends in %v)", c.ID, c.NotAfter.Sub(f.Now).Round(time.Minute)))
				}
			}
			if len(late) > 0 {
				return warn("overdue: %s", names(late))
			}
			return ok("")
		})},
	{"FIRE-IDENTITY-004", "identity", "the root does not end soon",
		"When the root ends, every certificate of the region ends with it.",
		"`fire ca rotate prepare`, then activate, then retire.",
		func(f *Facts) verdict {
			if f.CA == nil {
				return skip("the CA is not known: %s", why(f.CAErr, f.AskErr))
			}
			for _, r := range f.CA.Roots {
				switch left := r.NotAfter.Sub(f.Now); {
				case r.Active && left <= 0:
					return fail("it ended %v ago", (-left).Round(time.Hour))
				case r.Active && left < rootWarn:
					return warn("it ends in %d days", int(left.Hours()/24))
				}
			}
			return ok("")
		}},
	{"FIRE-IDENTITY-005", "identity", "no root rotation is left half done",
		"Two or more roots are trusted; an old one that is kept lets its holder sign for the mesh.",
		"Finish it: `fire ca rotate activate`, then `fire ca rotate retire`.",
		func(f *Facts) verdict {
			switch {
			case f.CA == nil:
				return skip("the CA is not known: %s", why(f.CAErr, f.AskErr))
			case len(f.CA.Roots) > 1:
				return warn("%d roots are trusted", len(f.CA.Roots))
			}
			return ok("")
		}},
	{"FIRE-IDENTITY-006", "identity", "every node's certificate is valid",
		"A node's certificate has ended; its peers refuse it.",
		"Look at that node's link and clock; a node that was down for long joins again with a token.",
		needStatus(func(f *Facts, s *statusT) verdict {
			var bad []string
			for _, n := range s.Nodes {
				if !n.CertExpires.IsZero() && f.Now.After(n.CertExpires) {
					bad = append(bad, n.Node)
				}
			}
			if len(bad) > 0 {
				return fail("%s", names(bad))
			}
			return ok("")
		})},
}

var controlChecks = []Check{
	{"FIRE-CONTROL-001", "control", "a fire runs on this host and answers",
		"None runs, it hangs, or you may not ask it.",
		"`systemctl status fire-proxy`; start it, or run the command as its user or a member of its group. `fire stat` reads a process that hangs.",
		func(f *Facts) verdict {
			if f.Info == nil {
				return fail("%s", why(f.AskErr))
			}
			return ok("%s, process %d, %s", f.Info.Node, f.Info.PID, strings.Join(f.Info.Roles, ","))
		}},
	{"FIRE-CONTROL-002", "control", "this node is linked to control",
		"No control address answers; traffic goes on from the signed snapshot.",
		"Check control's host and the UDP path to it; `fire explain control_unreachable`.",
		needInfo(func(_ *Facts, i *infoT) verdict {
			if !i.Linked {
				return fail("not linked: %s; the snapshot is %v old", orNone(i.LinkReason), (time.Duration(i.SnapshotAgeMS) * time.Millisecond).Round(time.Second))
			}
			return ok("%s", i.ControlAddress)
		})},
	{"FIRE-CONTROL-003", "control", "control answers about the mesh",
		"The answer comes from a snapshot, or there is none.",
		"Check control's host; `fire status` says how old the snapshot is.",
		needStatus(func(_ *Facts, s *statusT) verdict {
			if s.Source != "control" {
				return warn("the answer is a snapshot, %v old", (time.Duration(s.SnapshotAgeMS) * time.Millisecond).Round(time.Second))
			}
			return ok("version %d", s.Version)
		})},
	{"FIRE-CONTROL-004", "control", "a floor was applied",
		"Without a floor file there are no services and no rules, and everything is refused.",
		"`fire apply -f floor.toml`.",
		needStatus(func(_ *Facts, s *statusT) verdict {
			if s.FloorVersion == 0 {
				return warn("no floor was ever applied")
			}
			return ok("floor %d", s.FloorVersion)
		})},
	{"FIRE-CONTROL-005", "control", "this node holds the newest version",
		"Changes of the mesh have not reached this node, or it refused them.",
		"Wait a moment (--wait); if it stays, see `fire status -o wide` for the reason.",
		func(f *Facts) verdict {
			switch {
			case f.Info == nil || f.Status == nil:
				return skip("it is not known: %s", why(f.StatusErr, f.AskErr))
			case f.Info.Version < f.Status.Version:
				return warn("version %d, control has %d", f.Info.Version, f.Status.Version)
			}
			return ok("version %d", f.Info.Version)
		}},
}

var proxyChecks = []Check{
	{"FIRE-PROXY-001", "proxies", "every node is linked",
		"A node does not talk to control: its process, its host or the path is down.",
		"Look at that host; `fire status -o wide` says when it was last seen and why it left.",
		nodesWithout(func(n admin.NodeStatus) bool { return n.State == "OFFLINE" || !n.Linked }, fail)},
	{"FIRE-PROXY-002", "proxies", "no node rejected the configuration",
		"A node could not apply a version and keeps the last good one.",
		"`fire status -o wide` shows the reason; mend it and `fire apply`.",
		nodesWithout(func(n admin.NodeStatus) bool { return n.State == "REJECTED" }, fail)},
	{"FIRE-PROXY-003", "proxies", "every linked node runs the newest version",
		"A node lags behind; policy changes are not in force there.",
		"Wait a moment (--wait); if it stays, look at that node's load and log.",
		nodesWithout(func(n admin.NodeStatus) bool { return n.State == "STALE" && n.Linked }, warn)},
	{"FIRE-PROXY-004", "proxies", "no drain was forgotten",
		"A drained node takes no new flows.",
		"`fire drain NODE --undo` when the work on it is done.",
		nodesWithout(func(n admin.NodeStatus) bool { return n.State == "DRAINING" }, warn)},
	{"FIRE-PROXY-005", "proxies", "all nodes run the same release",
		"An upgrade is under way or was forgotten.",
		"Upgrade the older nodes.",
		needStatus(func(_ *Facts, s *statusT) verdict {
			var list []string
			for _, n := range s.Nodes {
				list = append(list, n.Release)
			}
			if text := names(list); strings.Contains(text, ",") {
				return warn("%s", text)
			}
			return ok("")
		})},
	{"FIRE-PROXY-006", "proxies", "versions are applied quickly",
		"Applying took a node more than a second, so a change of policy reaches live connections late.",
		"Look at that host's load.",
		nodesWithout(func(n admin.NodeStatus) bool { return n.ApplyMS > 1000 }, warn)},
	{"FIRE-PROXY-007", "proxies", "no two nodes have the same address",
		"Two nodes say the same address; traffic for one reaches the other and is refused as cert_wrong_peer.",
		"Set advertise in [node] of one of them.",
		needStatus(func(_ *Facts, s *statusT) verdict {
			seen := map[string]string{}
			for _, n := range s.Nodes {
				if other, ok := seen[n.Address]; ok && n.Address != "" {
					return fail("%s and %s are both at %s", other, n.Node, n.Address)
				}
				seen[n.Address] = n.Node
			}
			return ok("")
		})},
	{"FIRE-PROXY-008", "proxies", "this process is not short of processors",
		"The process may use one processor: the data path, renewal and telemetry share it.",
		"Give the process at least two processors (CPUQuota=, cpuset).",
		needInfo(func(_ *Facts, i *infoT) verdict {
			if i.MaxProcs == 1 {
				return warn("one processor")
			}
			return ok("%d", i.MaxProcs)
		})},
}

func nodesWithout(has func(admin.NodeStatus) bool, bad func(string, ...any) verdict) func(*Facts) verdict {
	return needStatus(func(_ *Facts, s *statusT) verdict {
		var list []string
		for _, n := range s.Nodes {
			if has(n) {
				text := n.Node
				if n.Reason != "" {
					text += " (" + n.Reason + ")"
				}
				list = append(list, text)
			}
		}
		if len(list) > 0 {
			return bad("%s", names(list))
		}
		return ok("%d nodes", len(s.Nodes))
	})
}

var serviceChecks = []Check{
	{"FIRE-SERVICE-001", "services", "every service has a registered endpoint",
		"The floor declares the service, but no node has it in its mesh.toml, or that node is down.",
		"Add [service.NAME] to mesh.toml on a node that it is placed on, and start it.",
		services(func(s admin.Service) bool { return s.Port != 0 && len(s.Endpoints) == 0 }, fail)},
	{"FIRE-SERVICE-002", "services", "every service has a healthy endpoint",
		"All endpoints fail their health check or are draining; calls are refused with no_healthy_endpoint.",
		"`fire services NAME` shows each endpoint and why.",
		services(func(s admin.Service) bool { return len(s.Endpoints) > 0 && !anyEndpoint(s, usable) }, fail)},
	{"FIRE-SERVICE-003", "services", "every endpoint is healthy",
		"Some endpoints are out; the others carry the load.",
		"`fire services NAME` shows which and why.",
		services(func(s admin.Service) bool {
			return anyEndpoint(s, usable) && anyEndpoint(s, func(e admin.Endpoint) bool { return !e.Healthy })
		}, warn)},
	{"FIRE-SERVICE-004", "services", "every endpoint's node is linked",
		"The endpoint's node does not talk to control, so its health is not known.",
		"Look at that node: `fire status`.",
		services(func(s admin.Service) bool {
			return anyEndpoint(s, func(e admin.Endpoint) bool { return !e.Linked })
		}, warn)},
	{"FIRE-SERVICE-005", "services", "every service is placed on some node",
		"A service without placement can have no certificate and no endpoint.",
		"Name nodes in its [service.NAME] of the floor file and `fire apply`.",
		services(func(s admin.Service) bool { return len(s.Placed) == 0 }, fail)},
	{"FIRE-SERVICE-006", "services", "no edge is failing",
		"Requests or connections between two services fail.",
		"`fire edges --errors`, then `fire why SRC DST`.",
		func(f *Facts) verdict {
			if f.EdgesErr != nil || f.AskErr != nil {
				return skip("the edges are not known: %s", why(f.EdgesErr, f.AskErr))
			}
			var red, yellow []string
			for _, e := range f.Edges {
				switch text := fmt.Sprintf("%s > %s (%s)", e.Src, e.Dst, orNone(e.Reason)); e.State {
				case "error":
					red = append(red, text)
				case "warn":
					yellow = append(yellow, text)
				}
			}
			switch {
			case len(red) > 0:
				return fail("%s", names(red))
			case len(yellow) > 0:
				return warn("%s", names(yellow))
			}
			return ok("%d edges", len(f.Edges))
		}},
	{"FIRE-SERVICE-007", "services", "all traffic is encrypted and authenticated",
		"An edge was seen that is not covered by mutual TLS.",
		"`fire edges` shows which; this should not happen inside the mesh.",
		func(f *Facts) verdict {
			if f.EdgesErr != nil || f.AskErr != nil {
				return skip("the edges are not known: %s", why(f.EdgesErr, f.AskErr))
			}
			var open []string
			for _, e := range f.Edges {
				if !e.Secured && e.State != "idle" && (e.RequestsTotal > 0 || e.ActiveFlows > 0) {
					open = append(open, e.Src+" > "+e.Dst)
				}
			}
			if len(open) > 0 {
				return fail("%s", names(open))
			}
			return ok("")
		}},
	{"FIRE-SERVICE-008", "services", "nothing was refused lately on this host",
		"A flow was refused within the last minute.",
		"`fire flows --refused` shows each with its reason and rule; `fire explain REASON`.",
		func(f *Facts) verdict {
			if f.Info == nil {
				return skip("no fire runs on this host that could be asked")
			}
			var list []string
			for _, r := range f.Refusals {
				if f.Now.Sub(r.At) < time.Minute {
					list = append(list, fmt.Sprintf("%s > %s (%s)", r.Src, r.Dst, r.Reason))
				}
			}
			if len(list) > 0 {
				return warn("%s", names(list))
			}
			return ok("")
		}},
}

func usable(e admin.Endpoint) bool { return e.Healthy && !e.Draining }

func anyEndpoint(s admin.Service, is func(admin.Endpoint) bool) bool {
	for _, e := range s.Endpoints {
		if is(e) {
			return true
		}
	}
	return false
}

// services judges each service; one for which bad holds is named.
func services(is func(admin.Service) bool, bad func(string, ...any) verdict) func(*Facts) verdict {
	return func(f *Facts) verdict {
		if f.ServicesErr != nil || f.AskErr != nil {
			return skip("the services are not known: %s", why(f.ServicesErr, f.AskErr))
		}
		var list []string
		for _, s := range f.Services {
			if is(s) {
				list = append(list, s.Service)
			}
		}
		if len(list) > 0 {
			return bad("%s", names(list))
		}
		return ok("%d services", len(f.Services))
	}
}

func orNone(s string) string {
	if s == "" {
		return "no reason given"
	}
	return s
}
