package proxy

// The seam to the HTTP relay. This file goes when the real two methods exist in another
// http_*.go; whoever writes them removes it.
//
// Client side: near was accepted from upstream u, v is the view that admitted it at
// connection level, e its edge. Use p.reach(ctx, u, v, wish{...}) for a stream to an
// endpoint (balanced, pooled, frame.Open and Reply done; release() at the end), p.add and
// p.remove with a *flow per live connection so that policy changes cut it.
//
// Server side: f is filled (not yet added), st has had frame.Open read and NO reply
// yet; answer(st, &frame.Reply{}) accepts.

import (
	"context"

	"fire/node/catalog"
	"fire/policy/reason"
	"fire/transport"
	"fire/transport/frame"
)

func (p *Proxy) serveHTTPClient(ctx context.Context, u *upstream, near *nearConn, v *catalog.View, e *edge) {
	near.Cancel(reason.HTTPMalformed)
}

func (p *Proxy) serveHTTPStream(ctx context.Context, f *flow, v *catalog.View, st transport.Stream, o *frame.Open) {
	st.Cancel(reason.HTTPMalformed)
}
