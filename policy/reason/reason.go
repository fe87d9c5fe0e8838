package reason

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// Code is one reason. It is two bytes on the wire (transport/frame).
type Code uint16

// Info is what `fire explain` prints for a code.
type Info struct {
	Code  Code   `json:"number"`
	Name  string `json:"code"`
	Group string `json:"group"`
	Title string `json:"title"`
	Cause string `json:"cause"`
	Fix   string `json:"fix"`
}

// All returns every row in order of number. The slice is the caller's.
func All() []Info { return append([]Info(nil), table[:]...) }

// Info returns the code's row; an unknown code gets a row that says so.
func (c Code) Info() Info {
	for i := range table {
		if table[i].Code == c {
			return table[i]
		}
	}
	return Info{c, "unknown_" + strconv.Itoa(int(c)), "none", "a reason this version does not know",
		"The peer runs a newer fire.", "Upgrade this side."}
}

// String is the code's name, the form used in logs, labels and JSON.
func (c Code) String() string { return c.Info().Name }

// Parse finds a code by its name, also in the form "unknown_N".
func Parse(name string) (Code, bool) {
	for i := range table {
		if table[i].Name == name {
			return table[i].Code, true
		}
	}
	if digits, ok := strings.CutPrefix(name, "unknown_"); ok {
		n, err := strconv.ParseUint(digits, 10, 16)
		if c := Code(n); err == nil && c.String() == name {
			return c, true
		}
	}
	return 0, false
}

// MarshalText is String.
func (c Code) MarshalText() ([]byte, error) { return []byte(c.String()), nil }

// UnmarshalText is Parse.
func (c *Code) UnmarshalText(b []byte) error {
	v, ok := Parse(string(b))
	if !ok {
		return fmt.Errorf("reason %q is not known", b)
	}
	*c = v
	return nil
}

// Error is a refusal or break with its code and the facts of this one case.
type Error struct {
	Code   Code
	Detail string // what and where, one line; may be empty
	Cause  error  // may be nil
}

// New makes an Error with a formatted detail; %w is honoured as the cause.
func New(c Code, format string, args ...any) *Error {
	err := fmt.Errorf(format, args...)
	return &Error{Code: c, Detail: err.Error(), Cause: errors.Unwrap(err)}
}

// Error is "code: detail".
func (e *Error) Error() string {
	if e.Detail == "" {
		return e.Code.String()
	}
	return e.Code.String() + ": " + e.Detail
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Cause }

// Of returns the code of the first Error in err's tree, or fallback.
func Of(err error, fallback Code) Code {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Code
	}
	return fallback
}
