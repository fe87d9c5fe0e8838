package bench

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"fire/policy/id"
	"fire/policy/pki"
)

// HAProxyName is the rival that bench can start by itself.
const HAProxyName = "haproxy"

// HAProxy is a pair of HAProxy processes joined by TLS 1.3 with certificates at both
// ends: the usual way to have what a fire pair does, without its policy and twin. It
// is a Pair with processes of its own.
type HAProxy struct {
	address string
	dir     string
	cancel  context.CancelFunc
	sides   []*haproxySide
}

type haproxySide struct {
	cmd  *exec.Cmd
	said *tail
	done chan struct{}
	err  error
}

// StartHAProxy starts the pair in front of target. mode is "tcp" or "http". Both
// processes get the cipher that fire's QUIC uses and threads as they come: one per
// processor.
func StartHAProxy(ctx context.Context, target, mode string) (*HAProxy, error) {
	program, err := exec.LookPath("haproxy")
	if err != nil {
		return nil, errors.New("haproxy is not installed; on Debian: apt-get install haproxy")
	}
	dir, err := os.MkdirTemp("", "fire-bench-haproxy-")
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	h := &HAProxy{dir: dir, cancel: cancel}
	if err := h.start(ctx, program, target, mode); err != nil {
		return nil, errors.Join(err, h.Close())
	}
	return h, nil
}

func (h *HAProxy) start(ctx context.Context, program, target, mode string) error {
	if err := writeCertificates(h.dir); err != nil {
		return fmt.Errorf("certificates: %w", err)
	}
	const tls = "verify required ca-file ca.pem"
	inner, err := h.side(ctx, program, "server", mode, "ssl crt server.pem "+tls, target, "")
	if err != nil {
		return err
	}
	h.address, err = h.side(ctx, program, "client", mode, "", inner, "ssl crt client.pem "+tls)
	return err
}

// side starts one process. Its listening socket is bound here and handed down, so
// that the port is known, nobody can take it in between, and who connects before
// haproxy is ready waits in the socket's queue.
func (h *HAProxy) side(ctx context.Context, program, name, mode, bind, server, options string) (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	f, err := l.(*net.TCPListener).File()
	if err != nil {
		return "", err
	}
	defer f.Close()
	conf := filepath.Join(h.dir, name+".cfg")
	if err := os.WriteFile(conf, []byte(haproxyConfig(mode, bind, server, options)), 0o600); err != nil {
		return "", err
	}
	if err := checked(ctx, program, h.dir, conf, f); err != nil {
		return "", err
	}
	s := &haproxySide{cmd: exec.CommandContext(ctx, program, "-db", "-C", h.dir, "-f", conf), said: &tail{}, done: make(chan struct{})}
	s.cmd.Stdout, s.cmd.Stderr = s.said, s.said // one writer when both are the same value
	s.cmd.ExtraFiles = []*os.File{f}            // number 3
	s.cmd.Cancel = func() error { return s.cmd.Process.Signal(os.Interrupt) }
	s.cmd.WaitDelay = childStop
	if err := s.cmd.Start(); err != nil {
		return "", err
	}
	go func() { s.err = s.cmd.Wait(); close(s.done) }()
	h.sides = append(h.sides, s)
	return l.Addr().String(), nil
}

func haproxyConfig(mode, bind, server, options string) string {
	return strings.Join([]string{
		"global",
		"  ssl-default-bind-options ssl-min-ver TLSv1.3",
		"  ssl-default-server-options ssl-min-ver TLSv1.3",
		"  ssl-default-bind-ciphersuites TLS_AES_128_GCM_SHA256",
		"  ssl-default-server-ciphersuites TLS_AES_128_GCM_SHA256",
		"defaults",
		"  mode " + mode,
		"  timeout connect 5s",
		"  timeout client 1h",
		"  timeout server 1h",
		"frontend in",
		"  bind fd@3 " + bind,
		"  default_backend out",
		"backend out",
		"  server s " + server + " " + options,
		"",
	}, "\n")
}

// checked lets haproxy read the file and say what is wrong with it.
func checked(ctx context.Context, program, dir, conf string, socket *os.File) error {
	cmd := exec.CommandContext(ctx, program, "-c", "-C", dir, "-f", conf)
	cmd.ExtraFiles = []*os.File{socket}
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("haproxy refuses its configuration: %w: %s", err, strings.TrimSpace(string(out)))
	}
	return nil
}

// Address is the client side's plain port.
func (h *HAProxy) Address() string { return h.address }

// PIDs are both processes.
func (h *HAProxy) PIDs() []int {
	var out []int
	for _, s := range h.sides {
		out = append(out, s.cmd.Process.Pid)
	}
	return out
}

// fault is what a side that ended by itself said; nil while both run.
func (h *HAProxy) fault() error {
	for _, s := range h.sides {
		select {
		case <-s.done:
			return fmt.Errorf("haproxy ended: %w: %s", s.err, s.said.text())
		default:
		}
	}
	return nil
}

// Close ends both processes, waits for them and removes their files.
func (h *HAProxy) Close() error {
	h.cancel()
	for _, s := range h.sides {
		<-s.done // WaitDelay bounds it
	}
	return os.RemoveAll(h.dir)
}

// writeCertificates makes a CA and one certificate per side, of the same kind and
// key type that fire's proxies use.
func writeCertificates(dir string) error {
	domain := id.Domain{Region: "local", Mesh: "bench"}
	ca, err := pki.OpenAuthority(filepath.Join(dir, "ca"), domain, time.Now)
	if err != nil {
		return err
	}
	var roots bytes.Buffer
	for _, der := range ca.Bundle().Roots {
		pem.Encode(&roots, &pem.Block{Type: "CERTIFICATE", Bytes: der})
	}
	if err := os.WriteFile(filepath.Join(dir, "ca.pem"), roots.Bytes(), 0o600); err != nil {
		return err
	}
	for _, name := range []string{"client", "server"} {
		if err := writeCertificate(ca, domain.Node(name), filepath.Join(dir, name+".pem")); err != nil {
			return err
		}
	}
	return nil
}

func writeCertificate(ca *pki.Authority, p id.Principal, path string) error {
	identity, err := pki.NewKey(p)
	if err != nil {
		return err
	}
	chain, err := ca.Issue(identity.CSR(), p)
	if err != nil {
		return err
	}
	if err := identity.Install(chain); err != nil {
		return err
	}
	cert := identity.Certificate()
	key, err := x509.MarshalPKCS8PrivateKey(cert.PrivateKey)
	if err != nil {
		return err
	}
	var out bytes.Buffer
	for _, der := range cert.Certificate {
		pem.Encode(&out, &pem.Block{Type: "CERTIFICATE", Bytes: der})
	}
	pem.Encode(&out, &pem.Block{Type: "PRIVATE KEY", Bytes: key})
	return os.WriteFile(path, out.Bytes(), 0o600)
}
