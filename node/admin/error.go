package admin

import (
	"errors"
	"net/http"

	"fire/policy/reason"
)

// Error is what a failed request answers with: a reason code, what failed, and
// what to do next.
type Error struct {
	Reason  string `json:"reason"`
	Message string `json:"message"`
	Next    string `json:"next,omitempty"`
}

// Error is the message followed by the next step.
func (e *Error) Error() string {
	if e.Next == "" {
		return e.Message
	}
	return e.Message + "; " + e.Next
}

// errorOf turns any error into an Error and an HTTP status.
func errorOf(err error) (int, *Error) {
	if e, ok := errors.AsType[*Error](err); ok {
		return statusOf(e.Reason), e
	}
	if e, ok := errors.AsType[*reason.Error](err); ok {
		return statusOf(e.Code.String()), &Error{Reason: e.Code.String(), Message: err.Error(), Next: e.Code.Info().Fix}
	}
	return http.StatusInternalServerError, &Error{Reason: "internal", Message: err.Error()}
}

func statusOf(name string) int {
	if name == "internal" {
		return http.StatusInternalServerError
	}
	switch c, _ := reason.Parse(name); c {
	case reason.NotPermitted:
		return http.StatusForbidden
	case reason.NoSuchService:
		return http.StatusNotFound
	case reason.ControlUnreachable:
		return http.StatusServiceUnavailable
	}
	return http.StatusBadRequest
}
