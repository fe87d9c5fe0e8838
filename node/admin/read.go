package admin

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"strconv"

	"fire/policy/reason"
)

// Answer serves one mesh-wide read by path. The server of this process and the
// control end of a node's link both use it, so that a host without control
// answers exactly as control does. The body is JSON, an *Error on failure.
func Answer(ctx context.Context, r Reader, path string, q url.Values) (status int, body []byte) {
	v, err := read(ctx, r, path, q)
	if err == nil {
		body, err = json.Marshal(v)
	}
	if err != nil {
		status, e := errorOf(err)
		body, _ = json.Marshal(e)
		return status, body
	}
	return http.StatusOK, body
}

func read(ctx context.Context, r Reader, path string, q url.Values) (any, error) {
	switch path {
	case "/v1/status":
		return r.Status(ctx)
	case "/v1/services":
		return r.Services(ctx)
	case "/v1/edges":
		return r.Edges(ctx)
	case "/v1/events":
		return r.Events(ctx)
	case "/v1/why":
		return r.Why(ctx, q.Get("src"), q.Get("dst"))
	case "/v1/policy/try":
		port, err := strconv.ParseUint(orZero(q.Get("port")), 10, 16)
		if err != nil {
			return nil, &Error{Reason: "usage", Message: "port " + strconv.Quote(q.Get("port")) + " is not a number from 0 to 65535"}
		}
		return r.PolicyTry(ctx, PolicyQuery{Src: q.Get("src"), Dst: q.Get("dst"), Port: uint16(port), Method: q.Get("method"), Path: q.Get("path")})
	case "/v1/ca":
		return r.CA(ctx)
	}
	return nil, &Error{Reason: "usage", Message: "no such path: " + path, Next: "upgrade the older of the two fire programs"}
}

func orZero(s string) string {
	if s == "" {
		return "0"
	}
	return s
}

// Ask carries one read to control and brings the status and body back.
type Ask func(ctx context.Context, path string, q url.Values) (status int, body []byte, err error)

// Remote is a Reader that asks control. When the link is down it fails with
// reason.ControlUnreachable, unless the node can answer from its snapshot.
type Remote struct{ Ask Ask }

func remote[T any](ctx context.Context, r Remote, path string, q url.Values) (v T, err error) {
	status, body, err := r.Ask(ctx, path, q)
	if e, ok := errors.AsType[*Error](err); ok {
		return v, e
	}
	if err != nil {
		return v, reason.New(reason.ControlUnreachable, "ask control for %s: %w", path, err)
	}
	return decode[T](status, body)
}

func decode[T any](status int, body []byte) (v T, err error) {
	if status != http.StatusOK {
		e := &Error{}
		if json.Unmarshal(body, e) != nil || e.Message == "" {
			e = &Error{Reason: "internal", Message: "the answer has HTTP status " + strconv.Itoa(status) + " and no reason"}
		}
		return v, e
	}
	return v, json.Unmarshal(body, &v)
}

// Status asks control.
func (r Remote) Status(ctx context.Context) (Status, error) {
	return remote[Status](ctx, r, "/v1/status", nil)
}

// Services asks control.
func (r Remote) Services(ctx context.Context) ([]Service, error) {
	return remote[[]Service](ctx, r, "/v1/services", nil)
}

// Edges asks control.
func (r Remote) Edges(ctx context.Context) ([]Edge, error) {
	return remote[[]Edge](ctx, r, "/v1/edges", nil)
}

// Events asks control.
func (r Remote) Events(ctx context.Context) ([]Event, error) {
	return remote[[]Event](ctx, r, "/v1/events", nil)
}

// Why asks control.
func (r Remote) Why(ctx context.Context, src, dst string) (Why, error) {
	return remote[Why](ctx, r, "/v1/why", url.Values{"src": {src}, "dst": {dst}})
}

// PolicyTry asks control.
func (r Remote) PolicyTry(ctx context.Context, p PolicyQuery) (PolicyVerdict, error) {
	return remote[PolicyVerdict](ctx, r, "/v1/policy/try", p.values())
}

// CA asks control.
func (r Remote) CA(ctx context.Context) (CA, error) { return remote[CA](ctx, r, "/v1/ca", nil) }

func (p PolicyQuery) values() url.Values {
	return url.Values{"src": {p.Src}, "dst": {p.Dst}, "port": {strconv.Itoa(int(p.Port))}, "method": {p.Method}, "path": {p.Path}}
}
