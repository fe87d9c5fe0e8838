package pki

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"log/slog"
	"net"
	"strings"
	"time"

	"fire/policy/id"
	"fire/policy/reason"
)

// Token lets one host join: it says where control is, how to know it (the pin), and
// proves by its secret that an operator wants this host.
type Token struct {
	ID       string
	Secret   []byte
	Pin      [32]byte // SHA-256 of the root's public key
	Domain   id.Domain
	Controls []string // host:port
	Node     string   // "" leaves the name to the joiner
	Expires  time.Time
}

const (
	tokenPrefix   = "fire1."
	TokenBytesMax = 4096
	secretBytes   = 32
	tokenIDBytes  = 8
	tokenSumBytes = 4
	ControlsMax   = 16
	TokenLifeMax  = 30 * 24 * time.Hour
)

// tokenBody is the token's payload; short keys keep the line short.
type tokenBody struct {
	ID       string    `json:"i"`
	Secret   []byte    `json:"s"`
	Pin      []byte    `json:"p"`
	Domain   id.Domain `json:"d"`
	Controls []string  `json:"c"`
	Node     string    `json:"n,omitempty"`
	Expires  int64     `json:"e"`
}

// String is the whole token, secret included: print it once, to its operator.
func (t *Token) String() string {
	body, err := json.Marshal(tokenBody{t.ID, t.Secret, t.Pin[:], t.Domain, t.Controls, t.Node, t.Expires.Unix()})
	if err != nil {
		return ""
	}
	sum := sha256.Sum256(body)
	return tokenPrefix + base64.RawURLEncoding.EncodeToString(append(sum[:tokenSumBytes:tokenSumBytes], body...))
}

// LogValue keeps the secret out of logs.
func (t *Token) LogValue() slog.Value { return slog.StringValue("token " + t.ID) }

// ParseToken reads what String printed. The checksum tells a torn copy from a
// forged token; forgery is for control to judge.
func ParseToken(s string) (*Token, error) {
	bad := func(format string, args ...any) (*Token, error) {
		return nil, reason.New(reason.TokenMalformed, format, args...)
	}
	text, ok := strings.CutPrefix(strings.TrimSpace(s), tokenPrefix)
	switch {
	case len(s) > TokenBytesMax:
		return bad("it is %d bytes long, the limit is %d", len(s), TokenBytesMax)
	case !ok:
		return bad("it does not start with %q", tokenPrefix)
	}
	raw, err := base64.RawURLEncoding.Strict().DecodeString(text)
	if err != nil || len(raw) < tokenSumBytes {
		return bad("it is not whole")
	}
	body := raw[tokenSumBytes:]
	if sum := sha256.Sum256(body); !bytes.Equal(sum[:tokenSumBytes], raw[:tokenSumBytes]) {
		return bad("its checksum is wrong, a part is missing or changed")
	}
	var b tokenBody
	dec := json.NewDecoder(bytes.NewReader(body))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&b); err != nil {
		return bad("its content cannot be read; it may be of a newer fire")
	}
	return b.token()
}

// token checks each field.
func (b tokenBody) token() (*Token, error) {
	t := &Token{ID: b.ID, Secret: b.Secret, Domain: b.Domain, Controls: b.Controls, Node: b.Node, Expires: time.Unix(b.Expires, 0).UTC()}
	problem := ""
	switch {
	case !isTokenID(b.ID):
		problem = "its id is wrong"
	case len(b.Secret) != secretBytes || copy(t.Pin[:], b.Pin) != len(t.Pin) || len(b.Pin) != len(t.Pin):
		problem = "its secret or pin has a wrong length"
	case b.Domain == (id.Domain{}):
		problem = "it names no trust domain"
	}
	if problem == "" {
		problem = controlsProblem(b.Controls)
	}
	if _, err := id.ParseName(b.Node); problem == "" && b.Node != "" && err != nil {
		problem = "its node " + err.Error()
	}
	if problem != "" {
		return nil, reason.New(reason.TokenMalformed, "%s", problem)
	}
	return t, nil
}

func isTokenID(s string) bool {
	return len(s) == 2*tokenIDBytes && strings.Trim(s, "0123456789abcdef") == ""
}

func controlsProblem(controls []string) string {
	if len(controls) == 0 || len(controls) > ControlsMax {
		return "it needs 1 to 16 control addresses"
	}
	for _, c := range controls {
		if host, port, err := net.SplitHostPort(c); err != nil || host == "" || port == "" {
			return "a control address is not host:port"
		}
	}
	return ""
}

// Check tells an expired token before any packet is sent.
func (t *Token) Check(now time.Time) error {
	if now.After(t.Expires) {
		return reason.New(reason.TokenExpired, "token %s ended %s; make another: fire token create", t.ID, stamp(t.Expires))
	}
	return nil
}
