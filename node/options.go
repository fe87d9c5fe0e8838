package node

import (
	"io"
	"log/slog"

	"fire/node/config"
)

// Options is what `fire run` is told.
type Options struct {
	Config  *config.Config // checked; the defaults when there is no file
	Roles   []string       // overrides Config.Node.Roles when not empty
	Token   string         // join token, "" when the node has joined before or is its own control
	Release string         // of the program
	Log     *slog.Logger
	Talk    io.Writer // a few lines for people: where things are
}

// DevOptions is what `fire dev` is told.
type DevOptions struct {
	Dir       string // "" is a throw-away folder
	Web       string // the map's address; must be loopback; "" is 127.0.0.1:7480 or, when taken, a free port
	FreePorts bool   // never the usual ports of the programs: several floors at once
	OrderRate int    // orders per second over both strategies, 0 is the floor's default
	Seed      uint64
	Release   string
	Log       *slog.Logger
	Talk      io.Writer
}
