package web

import (
	"net/http"
	"net/url"
)

// guard stands before every handler: names, methods, other sites, headers.
//
// The server only ever reads, sets no cookie and knows no login, so what is to be
// kept out is another site's script that reads the map through the browser of
// somebody who may: by a name of its own that resolves to this host (Host check),
// by a cross-site fetch or stream (Origin, Sec-Fetch-Site, CORP), or by framing it.
func (s *Server) guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		secure(w.Header())
		switch {
		case !s.cfg.hostAllowed(r.Host):
			http.Error(w, "this name is not allowed here; add it to web.allowed_hosts", http.StatusMisdirectedRequest)
		case r.Method != http.MethodGet && r.Method != http.MethodHead:
			w.Header().Set("Allow", "GET, HEAD")
			http.Error(w, "the map is read-only", http.StatusMethodNotAllowed)
		case foreign(r):
			http.Error(w, "another site may not read the map", http.StatusForbidden)
		default:
			next.ServeHTTP(w, r)
		}
	})
}

// foreign: sent by a page of another site. A plain link to the map is welcome.
func foreign(r *http.Request) bool {
	if origin := r.Header.Get("Origin"); origin != "" {
		u, err := url.Parse(origin)
		if err != nil || u.Host != r.Host {
			return true
		}
	}
	switch r.Header.Get("Sec-Fetch-Site") {
	case "", "same-origin", "none":
		return false
	}
	return r.Header.Get("Sec-Fetch-Mode") != "navigate" || r.Header.Get("Sec-Fetch-Dest") != "document"
}

func secure(h http.Header) {
	h.Set("Content-Security-Policy", "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "+
		"connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Frame-Options", "DENY")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Permissions-Policy", "camera=(), geolocation=(), microphone=(), payment=(), usb=()")
	h.Set("Cache-Control", "no-store")
}
