package config

import (
	"log/slog"
	"maps"
	"net/netip"
	"slices"

	"fire/audit"
	"fire/node/admin"
	"fire/node/agent"
	"fire/node/bridge"
	"fire/node/control"
	"fire/node/direct"
	"fire/node/proxy"
	"fire/policy/id"
	"fire/transport/quic"
	"fire/twin"
	"fire/twin/web"
)

// Config is mesh.toml. Each table is the Config of the room that reads it.
type Config struct {
	// What every host of the mesh has in common.
	Mesh Mesh `toml:"mesh"`
	// This host.
	Node Node `toml:"node"`
	// How this host keeps in touch with control.
	Agent agent.Config `toml:"agent"`
	// The services that run on this host, by their name in the floor.
	Services map[string]agent.Service `toml:"service"`
	// The local doors to services of the mesh, by any name.
	Upstreams map[string]proxy.Upstream `toml:"upstream"`
	// The bounds of the data path.
	Proxy proxy.Config `toml:"proxy"`
	// How programs of this host attach to channels, in the direct role.
	Direct direct.Config `toml:"direct"`
	// How channels go on to other hosts, in the direct role.
	Bridge bridge.Config `toml:"bridge"`
	// Which programs of this host are which service, by the service's name.
	Programs map[string]direct.Program `toml:"program"`
	// This host's audit log.
	Audit audit.Settings `toml:"audit"`
	// The unix socket that the inspection verbs ask.
	Admin admin.Config `toml:"admin"`
	// The process's own log.
	Log Log `toml:"log"`
	// The sessions between hosts.
	QUIC quic.Config `toml:"quic"`
	// The control role: catalogue, authority and live model of one region.
	Control control.Config `toml:"control"`
	// The live model of the mesh, in the control role.
	Twin twin.Config `toml:"twin"`
	// The map that the control role serves to browsers.
	Web web.Config `toml:"web"`

	origin map[string]Position // of every value that the file sets
	notes  map[string]string   // origin of values that neither the file nor a default sets
	file   string
}

// Mesh is the [mesh] table.
type Mesh struct {
	// Name of the mesh, the second half of the trust domain region.mesh. The same on
	// every host. Unit: name. Default: none, it must be given unless a join token gives it.
	// Needs a restart.
	Name string `toml:"name"`
	// Region of this host, the first half of the trust domain: hosts that share one
	// control. Unit: name. Default: none, it must be given unless a join token gives it.
	// Needs a restart.
	Region string `toml:"region"`
}

// Domain is the trust domain region.mesh, or zero when the join token gives it.
func (m Mesh) Domain() id.Domain { return id.Domain{Region: m.Region, Mesh: m.Name} }

// Node is the [node] table.
type Node struct {
	// Name of this host in the mesh. Unit: name. Default: "", which is the first label
	// of the host's name. Needs a restart.
	Name string `toml:"name"`
	// Roles that this process carries: "control", "proxy", "direct". The flag --role overrides
	// it. Unit: names. Default: ["proxy"]. Needs a restart.
	Roles []string `toml:"roles"`
	// Dir holds the state: keys, certificates, the signed snapshot, the catalogue. A
	// relative path counts from this file. Unit: path. Default: "", which is systemd's
	// StateDirectory, /var/lib/fire for root and $XDG_STATE_HOME/fire otherwise.
	// Needs a restart.
	Dir string `toml:"dir"`
	// Zone is the rack, room or building; endpoints of the same zone are preferred.
	// Unit: name. Default: "", which is no zone. Needs a restart.
	Zone string `toml:"zone"`
	// Listen is the UDP address of the mesh, for proxies and for control. Unit:
	// address:port. Default: "0.0.0.0:7400". Needs a restart.
	Listen string `toml:"listen"`
	// Advertise is the address that other hosts dial, when it is not the one that they
	// see. Unit: address:port. Default: "", which is the listen address, or for 0.0.0.0
	// the address of the route to control. Needs a restart.
	Advertise string `toml:"advertise"`
}

// Log is the [log] table.
type Log struct {
	// Level from which lines are written: "debug", "info", "warn" or "error". Unit:
	// word. Default: "info". Needs a restart.
	Level slog.Level `toml:"level"`
	// Format of a line: "text", "json", or "auto" for text on a terminal and JSON
	// otherwise. Unit: word. Default: "auto". Needs a restart.
	Format string `toml:"format"`
}

// Roles that a process may carry.
const (
	RoleControl = "control"
	RoleProxy   = "proxy"
	RoleDirect  = "direct"
)

// Roles are all of them.
func Roles() []string { return []string{RoleControl, RoleProxy, RoleDirect} }

// Default is the configuration of an empty file.
func Default() Config {
	return Config{
		Node:    Node{Roles: []string{RoleProxy}, Listen: "0.0.0.0:7400"},
		Agent:   agent.Default(),
		Proxy:   proxy.Default(),
		Direct:  direct.Default(),
		Bridge:  bridge.Default(),
		Audit:   audit.DefaultSettings(),
		Admin:   admin.Default(),
		Log:     Log{Format: "auto"},
		QUIC:    quic.Default(),
		Control: control.Default(),
		Twin:    twin.Default(),
		Web:     web.Default(),
	}
}

// elementDefaults are named tables without keys, by their types.
func elementDefaults() []any { return []any{agent.DefaultService()} }

// check asks every room in turn; section hands it a refuse of its own table.
func (c *Config) check(section func(table string) func(key, problem string)) {
	c.Mesh.check(section("mesh"))
	c.Node.check(section("node"))
	c.Log.check(section("log"))
	c.Admin.Check(section("admin"))
	c.Agent.Check(section("agent"))
	c.Proxy.Check(section("proxy"))
	for name, s := range c.Services {
		s.Check(section("service." + name))
	}
	doors := map[string]string{}
	for _, name := range slices.Sorted(maps.Keys(c.Upstreams)) {
		u := c.Upstreams[name]
		u.Check(section("upstream." + name))
		for key, at := range map[string]string{"listen": u.Listen, "unix": u.Unix} {
			if other, taken := doors[at]; taken && at != "" {
				section("upstream."+name)(key, "upstream."+other+" listens there already")
			}
			doors[at] = name
		}
	}
	c.Direct.Check(section("direct"))
	c.Bridge.Check(section("bridge"))
	c.Audit.Check(section("audit"))
	for name, p := range c.Programs {
		p.Check(section("program." + name))
		if _, err := id.ParseName(name); err != nil {
			section("program."+name)("", err.Error())
		}
	}
	c.QUIC.Check(section("quic"))
	c.Control.Check(section("control"))
	c.Twin.Check(section("twin"))
	c.Web.Check(section("web"))
}

func (m *Mesh) check(bad func(key, problem string)) {
	for key, name := range map[string]string{"name": m.Name, "region": m.Region} {
		if name == "" {
			continue
		}
		if _, err := id.ParseName(name); err != nil {
			bad(key, err.Error())
		}
	}
	if (m.Name == "") != (m.Region == "") {
		bad("name", "name and region go together; give both, or neither on a host that joins with a token")
	}
}

func (n *Node) check(bad func(key, problem string)) {
	for key, name := range map[string]string{"name": n.Name, "zone": n.Zone} {
		if name == "" {
			continue
		}
		if _, err := id.ParseName(name); err != nil {
			bad(key, err.Error())
		}
	}
	if len(n.Roles) == 0 {
		bad("roles", `is empty; give "control", "proxy", "direct" or several`)
	}
	for i, r := range n.Roles {
		if !slices.Contains(Roles(), r) {
			bad("roles", `"`+r+`" is no role; the roles are "control", "proxy" and "direct"`)
		} else if slices.Contains(n.Roles[:i], r) {
			bad("roles", `"`+r+`" stands twice`)
		}
	}
	if _, err := netip.ParseAddrPort(n.Listen); err != nil {
		bad("listen", "want ADDRESS:PORT such as 0.0.0.0:7400: "+err.Error())
	}
	if n.Advertise != "" {
		if a, err := netip.ParseAddrPort(n.Advertise); err != nil || a.Addr().IsUnspecified() || a.Port() == 0 {
			bad("advertise", "want an ADDRESS:PORT that other hosts can dial, such as 192.0.2.7:7400")
		}
	}
}

func (l *Log) check(bad func(key, problem string)) {
	if !slices.Contains([]string{"auto", "text", "json"}, l.Format) {
		bad("format", `want "auto", "text" or "json"`)
	}
}
