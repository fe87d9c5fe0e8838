package node

import (
	"context"
	"log/slog"
)

// untilDone logs errors alone once ctx has ended: while a dev floor stops, each part
// notices that the others are gone, which is no news to anybody.
type untilDone struct {
	slog.Handler
	ctx context.Context
}

// Enabled implements slog.Handler.
func (h untilDone) Enabled(ctx context.Context, l slog.Level) bool {
	return h.Handler.Enabled(ctx, l) && (l >= slog.LevelError || h.ctx.Err() == nil)
}

// WithAttrs implements slog.Handler.
func (h untilDone) WithAttrs(a []slog.Attr) slog.Handler {
	return untilDone{h.Handler.WithAttrs(a), h.ctx}
}

// WithGroup implements slog.Handler.
func (h untilDone) WithGroup(name string) slog.Handler {
	return untilDone{h.Handler.WithGroup(name), h.ctx}
}
