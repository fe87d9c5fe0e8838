// Package http1 owns the strict reading and the canonical writing of HTTP/1.1 heads
// and bodies on the proxy path. It is pure: bytes in, bytes out, no I/O, no clock.
//
//	client bytes ─► Request.Parse ─► method, canonical path, host ─► policy
//	                     │                                            │ allowed
//	                     ├─ Request.AppendRequest ─► one head ────────┴─► upstream
//	                     └─ Body.Scan ─► the body's bytes, as they came ─►
//	upstream bytes ─► Response.Parse ─► AppendResponse, Body.Scan ─► client
//	refused ─► AppendRefusal: status, x-fire-reason, one line
//
// What is matched is what is forwarded: there is one method, path and host per
// request, and the server gets exactly those bytes. Where two servers could read a
// message in two ways it is refused, never mended:
//
//	HTTPMalformed       CL beside TE; two CL, TE, Host or Expect; TE but exactly "chunked" (a tab behind it too);
//	                    bare LF; folded field; white space before a colon; control bytes; no or empty Host;
//	                    lower-case method; absolute target of another host; HTTP/1.0 with TE; chunk extensions;
//	                    trailers that frame, route or name an identity; Content_Length and its like
//	HTTPPathUnclean     "." and ".." segments, "//", "\", ";", "#", %2e %2f %5c %3b %00-%1f %7f in a path,
//	                    percent codes that decode to percent codes, bytes that are not UTF-8
//	HTTPHeaderTooLarge  head over the caller's limit, target, host, fields, Connection options, trailers
//	HTTPUpgradeRefused  CONNECT, HTTP/2 prefaces, every Upgrade but a whole WebSocket handshake
//
// Mended, because there is one meaning: a path's spelling (%41 is A, %c3 is %C3, a
// raw "[" is %5B), the Host's case, trailing dot and, for matching, port; white
// space around values; absolute form to origin form.
//
// Dropped: the fields of one hop (RFC 9110 section 7.6.1), those that Connection
// names, HTTP2-Settings, Proxy-Authorization, and every field whose name folds to
// x-fire-* when case and marks are ignored (X_Fire_Id). Ours are added after that,
// so no Connection option can remove them.
//
// Invariants
//   - net/http reads every head we emit as the same method, path, host, body length
//     (FuzzRequest, FuzzResponse hold it).
//   - Parse, Append* and Scan do not allocate, but for an error and the first
//     respelled path of a Request.
//   - A Request or Response belongs to one goroutine; there are no locks. Its
//     slices alias the caller's buffer until the next Parse.
//   - Each byte is searched for line ends once, however slowly a head arrives.
//
// Limits: see the constants in fields.go. A head is at most 64 KiB - 1, because
// field offsets are 16 bits wide; max_header_bytes is the operator's lower limit.
//
// Not seen: fields that some frameworks let override the method or the path
// (X-HTTP-Method-Override, X-Original-URL). They mean nothing in HTTP; a service
// that honours them must not be governed by method or path rules alone.
//
// Decisions
//   - Not net/http: httputil.ReverseProxy forwards ".." and %00 paths, h2c upgrades,
//     CONNECT and X_Fire_Id, and allocates some 60 times per request.
//   - Refuse ";" in paths instead of matching it: Tomcat cuts a segment there, others
//     do not, so "/admin;x" would pass a rule for "/admin". Declare such a service tcp.
//   - Refuse instead of normalise dot segments: whoever sends them is broken or hostile.
//   - Chunks pass as they came, validated byte by byte, instead of being decoded and
//     coded again: one copy less, and trailers survive.
//   - A client's HTTP/1.0 connection ends with its response (RFC 9112 appendix C.2.2).
package http1
