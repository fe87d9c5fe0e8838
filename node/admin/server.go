package admin

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"fire/policy/reason"
)

const (
	BodyBytesMax   = 4 << 20          // a floor file with room to spare
	ConnectionsMax = 64               // concurrent callers: so many readers, and so many who may change
	RequestTimeout = 30 * time.Second // of one request, waiting for nodes included
)

// Server answers on the unix socket.
type Server struct {
	reader  Reader
	changer Changer // nil without a control role
	local   Local
	log     *slog.Logger
	ln      net.Listener
	path    string
}

// Listen binds the socket. A socket file that nobody answers on is replaced; a live
// one is an error. changer is nil where there is no control role.
func Listen(ctx context.Context, cfg Config, reader Reader, changer Changer, local Local, log *slog.Logger) (*Server, error) {
	if err := MakeRuntimeDir(filepath.Dir(cfg.Socket)); err != nil {
		return nil, fmt.Errorf("admin socket's folder: %w; or set [admin] socket to another", err)
	}
	if probe(ctx, cfg.Socket) == nil {
		return nil, fmt.Errorf("admin socket %s: another fire answers there; stop it, or set [admin] socket", cfg.Socket)
	}
	ln, err := BindUnix(cfg.Socket, os.FileMode(cfg.mode()))
	if err != nil {
		return nil, fmt.Errorf("admin socket: %w", err)
	}
	return &Server{reader: reader, changer: changer, local: local, log: log, ln: ln, path: cfg.Socket}, nil
}

// Path is where the server listens.
func (s *Server) Path() string { return s.path }

// Run serves until ctx ends, then gives running requests two seconds.
func (s *Server) Run(ctx context.Context) error {
	srv := &http.Server{
		Handler:           s.handler(),
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       RequestTimeout,
		WriteTimeout:      RequestTimeout,
		IdleTimeout:       time.Minute,
		MaxHeaderBytes:    16 << 10,
		ErrorLog:          slog.NewLogLogger(s.log.Handler(), slog.LevelWarn),
		ConnContext:       withCaller,
	}
	done := make(chan error, 1)
	go func() { done <- srv.Serve(limit(s.ln, ConnectionsMax)) }()
	select {
	case err := <-done:
		return fmt.Errorf("admin socket: %w", err)
	case <-ctx.Done():
	}
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
	defer cancel()
	err := srv.Shutdown(grace)
	<-done
	if errors.Is(err, context.DeadlineExceeded) {
		return srv.Close()
	}
	return err
}

func (s *Server) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/local/info", get(s.local.Info))
	mux.HandleFunc("GET /v1/local/flows", get(s.local.Flows))
	mux.HandleFunc("GET /v1/local/refusals", get(s.local.Refusals))
	mux.HandleFunc("GET /v1/local/direct/{what}", func(w http.ResponseWriter, r *http.Request) {
		v, err := s.local.Direct(r.Context(), r.PathValue("what"), r.URL.Query())
		reply(w, v, err)
	})
	mux.HandleFunc("POST /v1/local/direct/{what}", s.changeDirect)
	mux.HandleFunc("GET /v1/local/audit", get(s.local.AuditStates))
	mux.HandleFunc("POST /v1/local/audit/{what}", s.auditAnswer)
	mux.HandleFunc("GET /v1/", func(w http.ResponseWriter, r *http.Request) {
		status, body := Answer(r.Context(), s.reader, r.URL.Path, r.URL.Query())
		send(w, status, body)
	})
	mux.HandleFunc("POST /v1/apply", change(s, Changer.Apply))
	mux.HandleFunc("POST /v1/rollback", change(s, Changer.Rollback))
	mux.HandleFunc("POST /v1/token", change(s, Changer.CreateToken))
	mux.HandleFunc("POST /v1/tokens", change(s, func(c Changer, ctx context.Context, _ struct{}) ([]TokenInfo, error) { return c.Tokens(ctx) }))
	mux.HandleFunc("POST /v1/revoke", change(s, Changer.Revoke))
	mux.HandleFunc("POST /v1/drain", change(s, Changer.Drain))
	mux.HandleFunc("POST /v1/ca/rotate", change(s, Changer.RotateCA))
	return s.reads(mux)
}

func get[T any](ask func(context.Context) (T, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		v, err := ask(r.Context())
		reply(w, v, err)
	}
}

// change wraps a verb that alters the mesh: owner or root only, one JSON body.
func change[Q, A any](s *Server, do func(Changer, context.Context, Q) (A, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		uid, ok := s.permitted(w, r)
		if !ok {
			return
		}
		if s.changer == nil {
			reply(w, nil, &Error{Reason: reason.NotPermitted.String(), Message: "this node has no control role", Next: "run the command on a control host (`fire status` shows which)"})
			return
		}
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, BodyBytesMax))
		if err != nil {
			reply(w, nil, &Error{Reason: "usage", Message: "the request cannot be read: " + err.Error()})
			return
		}
		var q Q
		dec := json.NewDecoder(bytes.NewReader(body))
		dec.DisallowUnknownFields()
		if err := dec.Decode(&q); err != nil && !errors.Is(err, io.EOF) {
			reply(w, nil, &Error{Reason: "usage", Message: "the request cannot be read: " + err.Error()})
			return
		}
		act, ok := s.acting(w, r, uid, body)
		if !ok {
			return
		}
		a, err := do(s.changer, r.Context(), q)
		s.acted(r.Context(), act, err)
		s.log.Info("admin change", "path", r.URL.Path, "uid", uid, "ok", err == nil)
		reply(w, a, err)
	}
}

// permitted refuses whoever is neither the owner of the process nor root.
func (s *Server) permitted(w http.ResponseWriter, r *http.Request) (uid int, ok bool) {
	if uid, ok = caller(r.Context()); ok && owns(uid) {
		return uid, true
	}
	s.log.Warn("admin change refused", "path", r.URL.Path, "uid", uid, "reason", reason.NotPermitted.String())
	reply(w, nil, &Error{Reason: reason.NotPermitted.String(), Message: "user " + fmt.Sprint(uid) + " may read, but not change the mesh", Next: "run it as root or as the user that runs fire"})
	return uid, false
}

// changeDirect wraps what alters the direct role of this host, or shows what it carries.
func (s *Server) changeDirect(w http.ResponseWriter, r *http.Request) {
	uid, ok := s.permitted(w, r)
	if !ok {
		return
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, BodyBytesMax))
	if err != nil {
		reply(w, nil, &Error{Reason: "usage", Message: "the request cannot be read: " + err.Error()})
		return
	}
	act, ok := s.acting(w, r, uid, body)
	if !ok {
		return
	}
	v, err := s.local.ChangeDirect(r.Context(), r.PathValue("what"), body, by(uid))
	s.acted(r.Context(), act, err)
	s.log.Info("admin change", "path", r.URL.Path, "uid", uid, "ok", err == nil)
	reply(w, v, err)
}

// by is how an operator is named.
func by(uid int) string { return fmt.Sprint("uid ", uid) }

func reply(w http.ResponseWriter, v any, err error) {
	if err != nil {
		status, e := errorOf(err)
		body, _ := json.Marshal(e)
		send(w, status, body)
		return
	}
	body, err := json.Marshal(v)
	if err != nil {
		reply(w, nil, err)
		return
	}
	send(w, http.StatusOK, body)
}

func send(w http.ResponseWriter, status int, body []byte) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	w.Write(append(body, '\n'))
}
