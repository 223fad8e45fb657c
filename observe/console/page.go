package console

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"io/fs"
	"net/http"
	"path"
	"strings"
	"time"
)

//go:embed page
var files embed.FS

// Policy is the Content-Security-Policy of the page: scripts and styles are
// files of this server, nothing else may be loaded or asked.
const Policy = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"

// asset is one file of the page.
type asset struct {
	content []byte
	kind    string
	tag     string // of this content
}

var assets = func() map[string]asset {
	all := map[string]asset{}
	kinds := map[string]string{".html": "text/html; charset=utf-8", ".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml"}
	fs.WalkDir(files, "page", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := files.ReadFile(name)
		sum := sha256.Sum256(b)
		all[strings.TrimPrefix(name, "page/")] = asset{b, kinds[path.Ext(name)], `"` + hex.EncodeToString(sum[:8]) + `"`}
		return err
	})
	return all
}()

func serveAsset(w http.ResponseWriter, r *http.Request, name string) {
	a, ok := assets[name]
	if !ok {
		http.NotFound(w, r)
		return
	}
	h := w.Header()
	h.Set("Content-Security-Policy", Policy)
	h.Set("Content-Type", a.kind)
	h.Set("ETag", a.tag)
	h.Set("Cache-Control", "no-cache") // another version of the service has another page
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(a.content))
}

// ServePage answers with the page itself.
func (c *Console) ServePage(w http.ResponseWriter, r *http.Request) {
	serveAsset(w, r, "index.html")
}

// Handler serves what the page needs, below /debug/console/: its files, the
// stream of events, and the figures as JSON, of all routes and of one.
func (c *Console) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /debug/console/{$}", c.ServePage)
	mux.HandleFunc("GET /debug/console/{file}", func(w http.ResponseWriter, r *http.Request) { serveAsset(w, r, r.PathValue("file")) })
	mux.HandleFunc("GET /debug/console/events", c.serveEvents)
	mux.HandleFunc("GET /debug/console/data", func(w http.ResponseWriter, r *http.Request) {
		writeJSON(w, c.shared(r.Context(), frameKey{c.rangeOf(r), true}))
	})
	mux.HandleFunc("GET /debug/console/route", func(w http.ResponseWriter, r *http.Request) {
		b := c.routeFrame(r.FormValue("name"))
		if b == nil {
			http.Error(w, "no such route", http.StatusNotFound)
			return
		}
		writeJSON(w, b)
	})
	return mux
}

func writeJSON(w http.ResponseWriter, b []byte) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.Write(b)
}
