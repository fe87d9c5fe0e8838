package proxy

import (
	"context"

	"fire/node/catalog"
	"fire/policy/reason"
	"fire/transport"
	"fire/transport/frame"
	"fire/transport/http1"
)

// serveHTTPStream carries the requests that another proxy sends on one stream. Each
// is parsed again and authorised again, for the identity that the session proved.
func (p *Proxy) serveHTTPStream(ctx context.Context, f *flow, v *catalog.View, st transport.Stream, _ *frame.Open) {
	if err := answer(st, &frame.Reply{}); err != nil {
		st.Cancel(reason.AppReset)
		return
	}
	g := &httpIn{httpGuard: httpGuard{proxy: p, flow: f}, app: p.http.app(f.dst.Name), source: f.src.String()}
	p.carryHTTP(ctx, &g.httpGuard, v, (&httpSide{cfg: p.cfg.HTTP, gate: g}).near(st))
}

// httpIn is the gate of a mesh stream: it leads to the local application.
type httpIn struct {
	httpGuard
	app    *httpApp
	source string
}

func (g *httpIn) connect(ctx context.Context, try int) (*httpFar, error) { return g.app.get(ctx, try) }

// added tells the application who asks. Whatever the request said has been dropped.
func (g *httpIn) added(*http1.Request) http1.Added { return http1.Added{Source: g.source} }
