package admin

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"net/http"

	"fire/policy/reason"
)

// Act is something that an operator asks of this process.
type Act struct {
	By      string // who, by the kernel's word
	Verb    string // path of the request
	Request string // SHA-256 of its body, "" where it has none
	Change  bool   // it is no reading
	Done    bool   // it is over; Result says how
	Result  string // "ok", or the error
}

// acting tells that a change is about to be made. It is not where that finds no record.
func (s *Server) acting(w http.ResponseWriter, r *http.Request, uid int, body []byte) (Act, bool) {
	sum := sha256.Sum256(body)
	a := Act{By: by(uid), Verb: r.URL.Path, Request: hex.EncodeToString(sum[:]), Change: true}
	if err := s.local.Acted(r.Context(), a); err != nil {
		reply(w, nil, err)
		return a, false
	}
	return a, true
}

// acted tells what became of it.
func (s *Server) acted(ctx context.Context, a Act, err error) {
	a.Done, a.Result = true, "ok"
	if err != nil {
		a.Result = err.Error()
	}
	if e := s.local.Acted(ctx, a); e != nil {
		s.log.Error("what became of a change is in no audit log", "path", a.Verb, "by", a.By, "err", e)
	}
}

// reads tells of whoever only looks.
func (s *Server) reads(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet {
			if uid, ok := caller(r.Context()); ok {
				if err := s.local.Acted(r.Context(), Act{By: by(uid), Verb: r.URL.Path}); err != nil {
					s.log.Warn("a question is in no audit log", "path", r.URL.Path, "by", by(uid), "reason", reason.AuditStalled.String(), "err", err)
				}
			}
		}
		next.ServeHTTP(w, r)
	})
}
