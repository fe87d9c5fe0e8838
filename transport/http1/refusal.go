package http1

import (
	"cmp"
	"strconv"

	"fire/policy/reason"
)

// Status is the HTTP status that tells a client of a refusal.
func Status(c reason.Code) int {
	switch c {
	case reason.HTTPMalformed, reason.HTTPPathUnclean, reason.HTTPUpgradeRefused:
		return 400
	case reason.HTTPHeaderTooLarge:
		return 431
	case reason.DeniedByDefault, reason.DeniedByRule, reason.PolicyChanged, reason.IdentityRevoked, reason.NotPlaced:
		return 403
	case reason.HeaderTimeout:
		return 408
	case reason.ConnectTimeout, reason.IdleTimeout, reason.SlowReader:
		return 504
	case reason.NoSuchService, reason.NoEndpoint, reason.NoHealthyEndpoint, reason.AllEjected, reason.Draining, reason.LeaseExpired,
		reason.Shutdown, reason.TooManyConnections, reason.TooManyStreams, reason.HandshakeFlood:
		return 503
	}
	return 502
}

// Refusal is an answer that the proxy itself gives.
type Refusal struct {
	Code   reason.Code
	Status int    // 0 = Status(Code)
	Detail string // one line, safe to show; may be empty
	Close  bool   // the connection ends after it
	Head   bool   // the method was HEAD: no body
}

// AppendRefusal appends a whole response: status, x-fire-reason and one line that
// says what happened and what to do.
func AppendRefusal(dst []byte, r Refusal) []byte {
	info := r.Code.Info()
	line := "fire: " + info.Name + ": " + info.Title
	if r.Detail != "" {
		line += ": " + r.Detail
	}
	line += ". " + info.Fix + "\n"
	status := cmp.Or(r.Status, Status(r.Code))
	dst = append(dst, "HTTP/1.1 "...)
	dst = strconv.AppendInt(dst, int64(status), 10)
	dst = append(dst, ' ')
	dst = append(dst, statusText(status)...)
	dst = append(dst, "\r\nContent-Type: text/plain; charset=utf-8\r\nX-Content-Type-Options: nosniff\r\nContent-Length: "...)
	dst = strconv.AppendInt(dst, int64(len(line)), 10)
	dst = append(dst, "\r\nx-fire-reason: "...)
	dst = append(dst, info.Name...)
	if r.Close {
		dst = append(dst, "\r\nConnection: close"...)
	}
	dst = append(dst, "\r\n\r\n"...)
	if r.Head {
		return dst
	}
	return append(dst, line...)
}

func statusText(status int) string {
	switch status {
	case 400:
		return "Bad Request"
	case 403:
		return "Forbidden"
	case 408:
		return "Request Timeout"
	case 431:
		return "Request Header Fields Too Large"
	case 503:
		return "Service Unavailable"
	case 504:
		return "Gateway Timeout"
	}
	return "Bad Gateway"
}
