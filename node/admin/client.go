package admin

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"syscall"

	"fire/policy/reason"
)

// Client asks one fire process through its socket. Its methods are those of Reader,
// Changer and Local; it is safe for concurrent use.
type Client struct {
	Remote // reads go through the same paths as on the link
	path   string
	http   *http.Client
}

// Dial makes a client for the socket at path; it connects with the first request.
func Dial(path string) *Client {
	c := &Client{path: path, http: &http.Client{Timeout: RequestTimeout, Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "unix", path)
		},
		MaxIdleConns: 2,
	}}}
	c.Remote = Remote{Ask: c.get}
	return c
}

// Path is the socket that the client asks.
func (c *Client) Path() string { return c.path }

// Close drops idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

func (c *Client) get(ctx context.Context, path string, q url.Values) (int, []byte, error) {
	return c.do(ctx, http.MethodGet, path+"?"+q.Encode(), nil)
}

func (c *Client) do(ctx context.Context, method, target string, body io.Reader) (int, []byte, error) {
	r, err := http.NewRequestWithContext(ctx, method, "http://fire"+target, body)
	if err != nil {
		return 0, nil, err
	}
	a, err := c.http.Do(r)
	if err != nil {
		return 0, nil, c.explain(err)
	}
	defer a.Body.Close()
	b, err := io.ReadAll(io.LimitReader(a.Body, 64<<20))
	return a.StatusCode, b, err
}

func (c *Client) explain(err error) error {
	switch {
	case errors.Is(err, syscall.EACCES):
		return &Error{Reason: reason.NotPermitted.String(), Message: "you may not ask the fire at " + c.path, Next: "run the command as its user or as a member of its group"}
	case errors.Is(err, syscall.ENOENT), errors.Is(err, syscall.ECONNREFUSED):
		return &Error{Reason: "not_running", Message: "no fire answers at " + c.path, Next: "start it with `fire dev` or `fire run`"}
	}
	return fmt.Errorf("ask the fire at %s: %w", c.path, err)
}

func local[T any](ctx context.Context, c *Client, path string) (v T, err error) {
	status, body, err := c.get(ctx, path, nil)
	if err != nil {
		return v, err
	}
	return decode[T](status, body)
}

func post[T any](ctx context.Context, c *Client, path string, q any) (v T, err error) {
	b, err := json.Marshal(q)
	if err != nil {
		return v, err
	}
	status, body, err := c.do(ctx, http.MethodPost, path, bytes.NewReader(b))
	if err != nil {
		return v, err
	}
	return decode[T](status, body)
}

// Info asks the process about itself.
func (c *Client) Info(ctx context.Context) (Info, error) {
	return local[Info](ctx, c, "/v1/local/info")
}

// Flows lists the process's live flows.
func (c *Client) Flows(ctx context.Context) ([]Flow, error) {
	return local[[]Flow](ctx, c, "/v1/local/flows")
}

// Refusals lists the process's recent refusals, newest first.
func (c *Client) Refusals(ctx context.Context) ([]Refusal, error) {
	return local[[]Refusal](ctx, c, "/v1/local/refusals")
}

// Acted tells nobody: the process itself records who asks it.
func (c *Client) Acted(context.Context, Act) error { return nil }

// Direct reads of the direct role, undecoded.
func (c *Client) Direct(ctx context.Context, what string, q url.Values) (any, error) {
	return AskDirect[json.RawMessage](ctx, c, what, q)
}

// ChangeDirect changes the direct role; the process itself knows who asks.
func (c *Client) ChangeDirect(ctx context.Context, what string, body []byte, _ string) (any, error) {
	return TellDirect[json.RawMessage](ctx, c, what, json.RawMessage(body))
}

// AskDirect reads of the direct role of the process: T is a type of node/direct.
func AskDirect[T any](ctx context.Context, c *Client, what string, q url.Values) (v T, err error) {
	status, body, err := c.get(ctx, "/v1/local/direct/"+what, q)
	if err != nil {
		return v, err
	}
	return decode[T](status, body)
}

// TellDirect changes the direct role of the process.
func TellDirect[T any](ctx context.Context, c *Client, what string, q any) (T, error) {
	return post[T](ctx, c, "/v1/local/direct/"+what, q)
}

// Apply applies a floor file.
func (c *Client) Apply(ctx context.Context, r ApplyRequest) (ApplyResult, error) {
	return post[ApplyResult](ctx, c, "/v1/apply", r)
}

// Rollback applies an earlier floor version again.
func (c *Client) Rollback(ctx context.Context, r RollbackRequest) (ApplyResult, error) {
	return post[ApplyResult](ctx, c, "/v1/rollback", r)
}

// CreateToken makes a join token.
func (c *Client) CreateToken(ctx context.Context, r TokenRequest) (TokenAnswer, error) {
	return post[TokenAnswer](ctx, c, "/v1/token", r)
}

// Tokens lists join tokens. It is a POST, since only the owner may see them.
func (c *Client) Tokens(ctx context.Context) ([]TokenInfo, error) {
	return post[[]TokenInfo](ctx, c, "/v1/tokens", struct{}{})
}

// Revoke revokes an identity, or lifts a revocation.
func (c *Client) Revoke(ctx context.Context, r RevokeRequest) (RevokeAnswer, error) {
	return post[RevokeAnswer](ctx, c, "/v1/revoke", r)
}

// Drain drains a node or endpoint, or ends a drain.
func (c *Client) Drain(ctx context.Context, r DrainRequest) (DrainAnswer, error) {
	return post[DrainAnswer](ctx, c, "/v1/drain", r)
}

// RotateCA does one step of a root rotation.
func (c *Client) RotateCA(ctx context.Context, r RotateRequest) (CA, error) {
	return post[CA](ctx, c, "/v1/ca/rotate", r)
}

var (
	_ Reader  = (*Client)(nil)
	_ Changer = (*Client)(nil)
	_ Local   = (*Client)(nil)
)
