package web

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"io/fs"
	"net/http"
	"path"
	"time"
)

// The page: plain ES modules, CSS and an icon, as they are.
//
//go:embed ui/*.html ui/*.js ui/*.css ui/*.svg
var ui embed.FS

// asset is one embedded file with its entity tag. Browsers ask each time and get
// 304, so that a new binary's page is never mixed with an old one's scripts.
type asset struct {
	data []byte
	kind string
	etag string
}

// contentTypes are stated here: mime.TypeByExtension asks the host's files.
func contentType(name string) string {
	switch path.Ext(name) {
	case ".html":
		return "text/html; charset=utf-8"
	case ".js":
		return "text/javascript; charset=utf-8"
	case ".css":
		return "text/css; charset=utf-8"
	case ".svg":
		return "image/svg+xml"
	}
	return "application/octet-stream"
}

// loadAssets maps URL paths to files.
func loadAssets() (map[string]asset, error) {
	out := map[string]asset{}
	entries, err := fs.ReadDir(ui, "ui")
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		data, err := fs.ReadFile(ui, "ui/"+e.Name())
		if err != nil {
			return nil, err
		}
		sum := sha256.Sum256(data)
		out["/ui/"+e.Name()] = asset{data, contentType(e.Name()), `"` + hex.EncodeToString(sum[:8]) + `"`}
	}
	out["/"] = out["/ui/index.html"]
	out["/favicon.ico"] = out["/ui/icon.svg"]
	return out, nil
}

func (s *Server) asset(w http.ResponseWriter, r *http.Request) {
	a, ok := s.assets[r.URL.Path]
	if !ok {
		http.NotFound(w, r)
		return
	}
	h := w.Header()
	h.Set("Content-Type", a.kind)
	h.Set("ETag", a.etag)
	h.Set("Cache-Control", "no-cache")
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(a.data))
}
