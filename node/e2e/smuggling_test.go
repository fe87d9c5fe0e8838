package e2e

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"fire/policy/reason"
	"fire/transport/http1"
)

// siteFloor lets the caller do a little at the site: whatever else arrives there is a
// bypass.
const siteFloor = `
[service.caller]
nodes = ["h1"]
[service.site]
protocol = "http"
port = 8000
nodes = ["h2"]
[policy.app]
from = ["caller"]
to = ["site"]
methods = ["GET", "HEAD", "POST"]
paths = ["/app/*"]
[policy.secret]
action = "deny"
from = ["*"]
to = ["site"]
paths = ["/app/secret", "/app/secret/*"]
`

// arrival is one request as the application understood it.
type arrival struct {
	Method string   `json:"method"`
	Raw    string   `json:"raw"`  // the target as it came
	Path   string   `json:"path"` // as the application reads it
	Host   string   `json:"host"`
	Body   string   `json:"body"`
	Case   string   `json:"case"`
	Own    []string `json:"own"` // fields that fold to x-fire-*, "name: value"
}

// site is an application with a proxy pair before it.
type site struct {
	t       *testing.T
	door    string // where the caller connects
	arrived func() []arrival
}

// startSite leads through two proxies to the application at address.
func startSite(t *testing.T, listen func(address string) func() []arrival) *site {
	t.Helper()
	m := newMesh(t)
	app := m.at(13, 8000)
	s := &site{t: t, door: m.at(2, 15000), arrived: listen(app)}
	m.apply(siteFloor)
	m.host("h1", 2, "proxy", fmt.Sprintf("[service.caller]\n[upstream.site]\nservice = \"site\"\nas = \"caller\"\nlisten = %q\n", s.door))
	m.host("h2", 3, "proxy", fmt.Sprintf("[service.site]\naddress = %q\n", app))
	m.join("h1", "h2")
	m.healthy("site@h2")
	waitFor(t, 20*time.Second, "the site answers", func() bool {
		answer, err := s.say("GET /app/first HTTP/1.1\r\nHost: site\r\nX-Case: first\r\n\r\n")
		return err == nil && strings.HasPrefix(answer, "HTTP/1.1 200 ")
	})
	return s
}

// goSite is net/http as an application.
func goSite(t *testing.T) func(address string) func() []arrival {
	return func(address string) func() []arrival {
		var mu sync.Mutex
		var all []arrival
		l, err := net.Listen("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			body, _ := io.ReadAll(r.Body)
			a := arrival{Method: r.Method, Raw: r.RequestURI, Path: r.URL.Path, Host: r.Host, Body: string(body), Case: r.Header.Get("X-Case")}
			for name, values := range r.Header {
				if strings.HasPrefix(folded(name), "x-fire") {
					for _, v := range values {
						a.Own = append(a.Own, name+": "+v)
					}
				}
			}
			mu.Lock()
			all = append(all, a)
			mu.Unlock()
			io.WriteString(w, "fine")
		})}
		served := make(chan struct{})
		go func() { srv.Serve(l); close(served) }()
		t.Cleanup(func() { srv.Close(); <-served })
		return func() []arrival {
			mu.Lock()
			defer mu.Unlock()
			return slices.Clone(all)
		}
	}
}

// nginxSite is nginx as an application; its access log is what arrived.
func nginxSite(t *testing.T) func(address string) func() []arrival {
	program, err := exec.LookPath("nginx")
	if err != nil {
		t.Skip("nginx is absent")
	}
	return func(address string) func() []arrival {
		dir := t.TempDir()
		conf := writeFile(t, dir, "nginx.conf", fmt.Sprintf(`daemon off; master_process off; pid %[1]s/pid; error_log %[1]s/error.log;
events {}
http {
  underscores_in_headers on;
  log_format arrivals escape=json '{"method":"$request_method","raw":"$request_uri","path":"$uri","host":"$http_host","case":"$http_x_case","own":["X-Fire-Source: $http_x_fire_source","$http_x_fire_id"]}';
  access_log %[1]s/access.log arrivals;
  client_body_temp_path %[1]s/body; proxy_temp_path %[1]s/p; fastcgi_temp_path %[1]s/f; uwsgi_temp_path %[1]s/u; scgi_temp_path %[1]s/s;
  server { listen %[2]s; location / { return 200 "fine"; } }
}`, dir, address))
		start(t, "nginx", exec.Command(program, "-e", filepath.Join(dir, "error.log"), "-c", conf))
		return func() []arrival {
			f, err := os.Open(filepath.Join(dir, "access.log"))
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			var all []arrival
			for lines := bufio.NewScanner(f); lines.Scan(); {
				var a arrival
				if err := json.Unmarshal(lines.Bytes(), &a); err != nil {
					t.Errorf("access log: %v in %s", err, lines.Text())
				}
				if a.Method == "" && a.Raw == "" {
					continue // a health check's connection
				}
				a.Own = slices.DeleteFunc(a.Own, func(s string) bool { return s == "" })
				all = append(all, a)
			}
			return all
		}
	}
}

func folded(name string) string {
	return strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' {
			return r
		}
		return '-'
	}, strings.ToLower(name))
}

// say sends raw on a connection of its own and returns all that comes back.
func (s *site) say(raw string) (string, error) {
	c, err := net.DialTimeout("tcp", s.door, 5*time.Second)
	if err != nil {
		return "", err
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(20 * time.Second))
	if _, err := io.WriteString(c, raw); err != nil {
		return "", err
	}
	c.(*net.TCPConn).CloseWrite()
	b, err := io.ReadAll(c)
	return string(b), err
}

// bypass says why an arrival is none that the policy allows, in any reading that a
// server is known to have, or "". Not held: Windows, whose file names end before spaces
// and dots.
func bypass(a arrival) string {
	if a.Method != "GET" && a.Method != "HEAD" && a.Method != "POST" {
		return "method"
	}
	if strings.Contains(a.Raw, "smuggled") || strings.Contains(a.Case, "smuggled") {
		return "smuggled"
	}
	if a.Host != strings.ToLower(a.Host) || strings.HasSuffix(a.Host, ".") || a.Host == "" {
		return "host"
	}
	if len(a.Own) != 1 || a.Own[0] != "X-Fire-Source: spiffe://eu.failing/svc/caller" {
		return "x-fire fields"
	}
	readings := []string{a.Path}
	raw, _, _ := strings.Cut(a.Raw, "?")
	for range 3 { // decoded once, twice, thrice
		readings = append(readings, raw)
		next, err := url.PathUnescape(raw)
		if err != nil {
			break
		}
		raw = next
	}
	for _, p := range readings {
		parameters, _, _ := strings.Cut(p, ";")
		for _, q := range []string{p, parameters, strings.ReplaceAll(p, `\`, "/"), strings.SplitN(p, "\x00", 2)[0]} {
			q = path.Clean(q)
			if !strings.HasPrefix(q, "/app/") || q == "/app/secret" || strings.HasPrefix(q, "/app/secret/") {
				return "path, read as " + q
			}
		}
	}
	return ""
}

// hostile are the requests of which nothing may arrive. NAME stands for the case.
var hostile = map[string]string{
	"outside":                "GET /admin HTTP/1.1\r\nHost: site\r\n\r\n",
	"denied":                 "GET /app/secret HTTP/1.1\r\nHost: site\r\n\r\n",
	"denied in absolute":     "GET http://site/app/secret HTTP/1.1\r\nHost: site\r\n\r\n",
	"denied in codes":        "GET /app/%73ecret HTTP/1.1\r\nHost: site\r\n\r\n",
	"denied below":           "GET /app/secret/x HTTP/1.1\r\nHost: site\r\n\r\n",
	"method":                 "DELETE /app/x HTTP/1.1\r\nHost: site\r\n\r\n",
	"dots":                   "GET /app/../admin HTTP/1.1\r\nHost: site\r\n\r\n",
	"dots in absolute":       "GET http://site/app/../admin HTTP/1.1\r\nHost: site\r\n\r\n",
	"coded dots":             "GET /app/%2e%2e/admin HTTP/1.1\r\nHost: site\r\n\r\n",
	"half coded dots":        "GET /app/.%2e/admin HTTP/1.1\r\nHost: site\r\n\r\n",
	"twice coded dots":       "GET /app/%252e%252e/admin HTTP/1.1\r\nHost: site\r\n\r\n",
	"thrice coded dots":      "GET /app/%25252e%25252e/admin HTTP/1.1\r\nHost: site\r\n\r\n",
	"overlong dots":          "GET /app/%c0%ae%c0%ae/admin HTTP/1.1\r\nHost: site\r\n\r\n",
	"coded slash":            "GET /app/x%2f..%2f..%2fadmin HTTP/1.1\r\nHost: site\r\n\r\n",
	"backslash":              "GET /app\\..\\admin HTTP/1.1\r\nHost: site\r\n\r\n",
	"coded backslash":        "GET /app/%5c..%5cadmin HTTP/1.1\r\nHost: site\r\n\r\n",
	"double slash":           "GET //admin HTTP/1.1\r\nHost: site\r\n\r\n",
	"double slash below":     "GET /app//secret HTTP/1.1\r\nHost: site\r\n\r\n",
	"one dot":                "GET /app/./secret HTTP/1.1\r\nHost: site\r\n\r\n",
	"parameter":              "GET /app/secret;x HTTP/1.1\r\nHost: site\r\n\r\n",
	"dot parameter":          "GET /app/..;/admin HTTP/1.1\r\nHost: site\r\n\r\n",
	"coded zero":             "GET /app/secret%00 HTTP/1.1\r\nHost: site\r\n\r\n",
	"fragment":               "GET /app/x#/../admin HTTP/1.1\r\nHost: site\r\n\r\n",
	"bad code":               "GET /app/%zz HTTP/1.1\r\nHost: site\r\n\r\n",
	"cut code":               "GET /app/% HTTP/1.1\r\nHost: site\r\n\r\n",
	"unicode code":           "GET /app/%u002e%u002e/admin HTTP/1.1\r\nHost: site\r\n\r\n",
	"no slash":               "GET app/x HTTP/1.1\r\nHost: site\r\n\r\n",
	"asterisk":               "OPTIONS * HTTP/1.1\r\nHost: site\r\n\r\n",
	"asterisk get":           "GET * HTTP/1.1\r\nHost: site\r\n\r\n",
	"connect":                "CONNECT /app/x HTTP/1.1\r\nHost: site\r\n\r\n",
	"connect authority":      "CONNECT site:80 HTTP/1.1\r\nHost: site:80\r\n\r\n",
	"other host":             "GET http://other/app/x HTTP/1.1\r\nHost: site\r\n\r\n",
	"https target":           "GET https://site/app/x HTTP/1.1\r\nHost: site\r\n\r\n",
	"user in target":         "GET http://a@site/app/x HTTP/1.1\r\nHost: site\r\n\r\n",
	"no host":                "GET /app/x HTTP/1.1\r\n\r\n",
	"no host, 1.0":           "GET /app/x HTTP/1.0\r\n\r\n",
	"empty host":             "GET /app/x HTTP/1.1\r\nHost:\r\n\r\n",
	"two hosts":              "GET /app/x HTTP/1.1\r\nHost: site\r\nHost: site\r\n\r\n",
	"dot host":               "GET /app/x HTTP/1.1\r\nHost: .\r\n\r\n",
	"h2c":                    "GET /app/x HTTP/1.1\r\nHost: site\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA\r\n\r\n",
	"h2 preface":             "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
	"0.9":                    "GET /app/x\r\n\r\n",
	"1.2":                    "GET /app/x HTTP/1.2\r\nHost: site\r\n\r\n",
	"lower method":           "get /app/x HTTP/1.1\r\nHost: site\r\n\r\n",
	"two spaces":             "GET  /app/x HTTP/1.1\r\nHost: site\r\n\r\n",
	"tab in line":            "GET\t/app/x HTTP/1.1\r\nHost: site\r\n\r\n",
	"space in target":        "GET /app/x /admin HTTP/1.1\r\nHost: site\r\n\r\n",
	"cl and te":              "POST /app/x HTTP/1.1\r\nHost: site\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nSMUGGLED",
	"te and cl":              "POST /app/x HTTP/1.1\r\nHost: site\r\nTransfer-Encoding: chunked\r\nContent-Length: 100\r\n\r\n0\r\n\r\nSMUGGLED",
	"two cl":                 "POST /app/x HTTP/1.1\r\nHost: site\r\nContent-Length: 0\r\nContent-Length: 60\r\n\r\nSMUGGLED",
	"listed cl":              "POST /app/x HTTP/1.1\r\nHost: site\r\nContent-Length: 0, 60\r\n\r\nSMUGGLED",
	"signed cl":              "POST /app/x HTTP/1.1\r\nHost: site\r\nContent-Length: +0\r\n\r\nSMUGGLED",
	"negative cl":            "POST /app/x HTTP/1.1\r\nHost: site\r\nContent-Length: -1\r\n\r\nSMUGGLED",
	"hex cl":                 "POST /app/x HTTP/1.1\r\nHost: site\r\nContent-Length: 0x10\r\n\r\nSMUGGLED",
	"huge cl":                "POST /app/x HTTP/1.1\r\nHost: site\r\nContent-Length: 18446744073709551616\r\n\r\nSMUGGLED",
	"underscore cl":          "POST /app/x HTTP/1.1\r\nHost: site\r\nContent_Length: 60\r\n\r\nSMUGGLED",
	"underscore te":          "POST /app/x HTTP/1.1\r\nHost: site\r\nTransfer_Encoding: chunked\r\n\r\n0\r\n\r\nSMUGGLED",
	"te tab":                 "POST /app/x HTTP/1.1\r\nHost: site\r\nTransfer-Encoding: chunked\t\r\n\r\n0\r\n\r\nSMUGGLED",
	"te before tab":          "POST /app/x HTTP/1.1\r\nHost: site\r\nTransfer-Encoding:\tchunked\r\n\r\n0\r\n\r\nSMUGGLED",
	"te list":                "POST /app/x HTTP/1.1\r\nHost: site\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\nSMUGGLED",
	"te identity":            "POST /app/x HTTP/1.1\r\nHost: site\r\nTransfer-Encoding: identity\r\n\r\nSMUGGLED",
	"te xchunked":            "POST /app/x HTTP/1.1\r\nHost: site\r\nTransfer-Encoding: xchunked\r\nContent-Length: 0\r\n\r\nSMUGGLED",
	"te vertical tab":        "POST /app/x HTTP/1.1\r\nHost: site\r\nTransfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\nSMUGGLED",
	"te quoted":              "POST /app/x HTTP/1.1\r\nHost: site\r\nTransfer-Encoding: \"chunked\"\r\n\r\n0\r\n\r\nSMUGGLED",
	"two te":                 "POST /app/x HTTP/1.1\r\nHost: site\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\nSMUGGLED",
	"te in 1.0":              "POST /app/x HTTP/1.0\r\nHost: site\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nSMUGGLED",
	"space before colon":     "POST /app/x HTTP/1.1\r\nHost: site\r\nTransfer-Encoding : chunked\r\nContent-Length: 0\r\n\r\nSMUGGLED",
	"folded":                 "POST /app/x HTTP/1.1\r\nHost: site\r\nX: y\r\n Transfer-Encoding: chunked\r\n\r\nSMUGGLED",
	"folded te":              "POST /app/x HTTP/1.1\r\nHost: site\r\nTransfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\nSMUGGLED",
	"first line folded":      "GET /app/x HTTP/1.1\r\n Host: site\r\nHost: site\r\n\r\n",
	"bare LF line":           "GET /app/x HTTP/1.1\nHost: site\r\n\r\n",
	"bare LF field":          "POST /app/x HTTP/1.1\r\nHost: site\r\nX: y\nContent-Length: 60\r\n\r\nSMUGGLED",
	"bare LF end":            "GET /app/x HTTP/1.1\r\nHost: site\r\n\nSMUGGLED",
	"bare CR":                "GET /app/x HTTP/1.1\r\nHost: site\r\nX: y\rTransfer-Encoding: chunked\r\n\r\nSMUGGLED",
	"zero in value":          "GET /app/x HTTP/1.1\r\nHost: site\r\nX: y\x00z\r\n\r\n",
	"no colon":               "GET /app/x HTTP/1.1\r\nHost: site\r\nnonsense\r\n\r\n",
	"no name":                "GET /app/x HTTP/1.1\r\nHost: site\r\n: x\r\n\r\n",
	"expect":                 "POST /app/x HTTP/1.1\r\nHost: site\r\nExpect: 100-continue, x\r\nContent-Length: 0\r\n\r\n",
	"smuggled in cl":         "GET /app/x HTTP/1.1\r\nHost: site\r\nX-Case: NAME\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nSMUGGLED",
	"connection drops cl":    "POST /app/x HTTP/1.1\r\nHost: site\r\nConnection: Content-Length\r\nContent-Length: x\r\n\r\nSMUGGLED",
	"websocket with a body":  "GET /app/x HTTP/1.1\r\nHost: site\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 8\r\n\r\nSMUGGLED",
	"upgrade, no connection": "GET /app/x HTTP/1.1\r\nHost: site\r\nUpgrade: websocket\r\n\r\n",
}

// smuggled is what a hostile body tries to make a request of.
const smuggled = "GET /app/smuggled HTTP/1.1\r\nHost: site\r\nX-Case: smuggled\r\n\r\n"

// brokenBodies begin as requests that are allowed, so that their head may arrive; what
// is hidden in their bodies must not.
var brokenBodies = map[string]string{
	"chunk extension":   "5;a=b\r\nhello\r\n0\r\n\r\nSMUGGLED",
	"chunk LF":          "5\nhello\r\n0\r\n\r\nSMUGGLED",
	"chunk space":       "5 \r\nhello\r\n0\r\n\r\nSMUGGLED",
	"chunk plus":        "+5\r\nhello\r\n0\r\n\r\nSMUGGLED",
	"chunk hex":         "0x5\r\nhello\r\n0\r\n\r\nSMUGGLED",
	"chunk huge":        "10000000000000005\r\nhello\r\n0\r\n\r\nSMUGGLED",
	"chunk longer":      "5\r\nhello!\r\n0\r\n\r\nSMUGGLED",
	"chunk no end":      "5\r\nhelloXX0\r\n\r\nSMUGGLED",
	"chunk negative":    "-1\r\nhello\r\n0\r\n\r\nSMUGGLED",
	"trailer te":        "0\r\nTransfer-Encoding: chunked\r\n\r\nSMUGGLED",
	"trailer cl":        "0\r\nContent-Length: 60\r\n\r\nSMUGGLED",
	"trailer host":      "0\r\nHost: other\r\n\r\nSMUGGLED",
	"trailer own":       "0\r\nX_Fire_Source: spiffe://eu.failing/svc/root\r\n\r\nSMUGGLED",
	"trailer bare LF":   "0\r\nX: y\n\r\nSMUGGLED",
	"trailer folded":    "0\r\nX: y\r\n z\r\n\r\nSMUGGLED",
	"last chunk cut":    "0\r\n" + smuggled,
	"last chunk bare":   "0\n\n" + smuggled,
	"second last chunk": "0\r\n\rX" + smuggled,
}

// mended are requests with one meaning that is not their spelling: what must arrive.
var mended = map[string]struct{ raw, want string }{
	"plain":              {"GET /app/x?a=/../b HTTP/1.1\r\nHost: site\r\nX-Case: NAME\r\n\r\n", "/app/x?a=/../b"},
	"codes of letters":   {"GET /app/%41%62 HTTP/1.1\r\nHost: site\r\nX-Case: NAME\r\n\r\n", "/app/Ab"},
	"host spelling":      {"GET /app/x HTTP/1.1\r\nHost: SITE.\r\nX-Case: NAME\r\n\r\n", "/app/x"},
	"absolute":           {"GET http://SITE/app/x HTTP/1.1\r\nHost: site\r\nX-Case: NAME\r\n\r\n", "/app/x"},
	"forged identity":    {"GET /app/x HTTP/1.1\r\nHost: site\r\nX-Case: NAME\r\nx-fire-source: spiffe://eu.failing/svc/root\r\nX_Fire_Id: 1\r\nX.FIRE.Source: 2\r\nX-Fire: 3\r\n\r\n", "/app/x"},
	"connection names":   {"GET /app/x HTTP/1.1\r\nHost: site\r\nX-Case: NAME\r\nConnection: X-Fire-Source, close, Host\r\n\r\n", "/app/x"},
	"hop fields":         {"GET /app/x HTTP/1.1\r\nHost: site\r\nX-Case: NAME\r\nTE: trailers\r\nKeep-Alive: x\r\nProxy-Authorization: y\r\n\r\n", "/app/x"},
	"body that is a get": {"POST /app/x HTTP/1.1\r\nHost: site\r\nX-Case: NAME\r\nContent-Length: 60\r\n\r\n" + smuggled, "/app/x"},
	"get with a body":    {"GET /app/x HTTP/1.1\r\nHost: site\r\nX-Case: NAME\r\nContent-Length: 60\r\n\r\n" + smuggled, "/app/x"},
	"chunked get":        {"POST /app/x HTTP/1.1\r\nHost: site\r\nX-Case: NAME\r\ntransfer-encoding: CHUNKED\r\n\r\n3c\r\n" + smuggled + "\r\n0\r\n\r\n", "/app/x"},
	"1.0":                {"GET /app/x HTTP/1.0\r\nHost: site\r\nX-Case: NAME\r\n\r\n", "/app/x"},
}

func TestNothingForbiddenReachesAGoServer(t *testing.T) {
	s := startSite(t, goSite(t))
	s.attack(t)
	for _, a := range s.arrived() {
		if (a.Case == "mended body that is a get" || a.Case == "mended chunked get") && a.Body != smuggled {
			t.Errorf("%s: the body is %q", a.Case, a.Body)
		}
	}
}

func TestNothingForbiddenReachesNginx(t *testing.T) {
	real(t, "nginx")
	startSite(t, nginxSite(t)).attack(t)
}

// attack sends everything and holds what arrived against the policy.
func (s *site) attack(t *testing.T) {
	if len(smuggled) != 60 {
		t.Fatalf("the lengths above say 60, it is %d", len(smuggled))
	}
	for name, raw := range hostile {
		answer, err := s.say(strings.ReplaceAll(strings.ReplaceAll(raw, "NAME", "hostile "+name), "SMUGGLED", smuggled))
		if !strings.HasPrefix(answer, "HTTP/1.1 4") || !strings.Contains(answer, "\r\nx-fire-reason: ") || strings.Count(answer, "HTTP/1.1 ") != 1 {
			t.Errorf("%s: want one refusal of the proxy, got %q, %v", name, answer, err)
		}
	}
	arrivedOnlyFirst(t, s.arrived())
	for name, body := range brokenBodies {
		raw := "POST /app/x HTTP/1.1\r\nHost: site\r\nX-Case: broken " + name + "\r\nTransfer-Encoding: chunked\r\n\r\n" + strings.ReplaceAll(body, "SMUGGLED", smuggled)
		if answer, _ := s.say(raw); strings.Contains(answer, "HTTP/1.1 2") {
			t.Errorf("%s: a broken body was taken: %q", name, answer)
		}
	}
	for name, m := range mended {
		answer, err := s.say(strings.ReplaceAll(m.raw, "NAME", "mended "+name))
		if !strings.HasPrefix(answer, "HTTP/1.1 200 ") || strings.Count(answer, "HTTP/1.1 ") != 1 {
			t.Errorf("%s: got %q, %v", name, answer, err)
		}
	}
	s.percentCodes(t)
	arrived := s.arrived()
	for name, m := range mended {
		at := slices.IndexFunc(arrived, func(a arrival) bool { return a.Case == "mended "+name })
		if at < 0 || arrived[at].Raw != m.want {
			t.Errorf("%s: did not arrive as %s", name, m.want)
		}
	}
	for _, a := range arrived {
		if why := bypass(a); why != "" {
			t.Errorf("BYPASS by %s: %+v", why, a)
		}
	}
	t.Logf("%d hostile requests, %d broken bodies, %d respelled: %d arrived, all as the policy allows",
		len(hostile), len(brokenBodies), 256*len(codeForms)*2, len(arrived))
}

func arrivedOnlyFirst(t *testing.T, all []arrival) {
	t.Helper()
	for _, a := range all {
		if a.Case != "first" {
			t.Errorf("a refused request arrived: %+v", a)
		}
	}
}

// codeForms are where a percent code may stand; CODE is replaced.
var codeForms = []string{"/app/CODE", "/app/CODEsecret", "/app/secretCODE", "/app/xCODE../CODEsecret", "/appCODEsecret", "/app/CODE/secret", "/CODE/app/x"}

// percentCodes sends every code in every form, in both cases of hex, on connections
// that are kept while they can be.
func (s *site) percentCodes(t *testing.T) {
	work := make(chan string, 64)
	var workers sync.WaitGroup
	for range 4 {
		workers.Go(func() {
			k := &kept{site: s}
			defer k.close()
			for p := range work {
				s.percentCode(t, k, p)
			}
		})
	}
	for c := range 256 {
		for _, form := range codeForms {
			work <- strings.ReplaceAll(form, "CODE", fmt.Sprintf("%%%02X", c))
			work <- strings.ReplaceAll(form, "CODE", fmt.Sprintf("%%%02x", c))
		}
	}
	close(work)
	workers.Wait()
}

// percentCode: refused, or passed on in the one canonical spelling.
func (s *site) percentCode(t *testing.T, k *kept, p string) {
	status, why, err := k.ask(p)
	if err != nil {
		t.Errorf("%s: %v", p, err)
		return
	}
	_, code := http1.CanonicalPath(nil, []byte(p))
	switch {
	case status == http.StatusOK && code == reason.OK:
	case status >= 400 && status < 500 && why != "":
	default:
		t.Errorf("%s: status %d, reason %q", p, status, why)
	}
}

// kept is a connection that is used until it is closed.
type kept struct {
	site *site
	conn net.Conn
	in   *bufio.Reader
}

func (k *kept) close() {
	if k.conn != nil {
		k.conn.Close()
		k.conn = nil
	}
}

func (k *kept) ask(target string) (status int, why string, err error) {
	if k.conn == nil {
		if k.conn, err = net.DialTimeout("tcp", k.site.door, 5*time.Second); err != nil {
			return 0, "", err
		}
		k.in = bufio.NewReader(k.conn)
	}
	k.conn.SetDeadline(time.Now().Add(20 * time.Second))
	if _, err = fmt.Fprintf(k.conn, "GET %s HTTP/1.1\r\nHost: site\r\nX-Case: code %s\r\n\r\n", target, target); err != nil {
		k.close()
		return 0, "", err
	}
	r, err := http.ReadResponse(k.in, nil)
	if err != nil {
		k.close()
		return 0, "", err
	}
	_, err = io.Copy(io.Discard, r.Body)
	if r.Close || err != nil {
		k.close()
	}
	return r.StatusCode, r.Header.Get("X-Fire-Reason"), err
}
