package flame

import (
	"embed"
	"net/http"
	"strings"
)

//go:embed page.html flame.js flame.css
var files embed.FS

// Policy is the Content-Security-Policy under which the page works: its own
// script and style, data from where it came from, and nothing else.
const Policy = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// ServePage serves the page, or its script or style by name; any other name is
// not found. The page asks for sources and data beside itself:
//
//	ui                  the page
//	ui/flame.js         its script, and flame.css its style
//	ui/sources          Sources
//	ui/data?profile=ID  a Graph; with type, label and value as Options, base for another profile's ID, seconds for a new one
func ServePage(w http.ResponseWriter, r *http.Request, name string) {
	kind, ok := map[string]string{"": "text/html", "flame.js": "text/javascript", "flame.css": "text/css"}[name]
	if !ok {
		http.NotFound(w, r)
		return
	}
	if name == "" {
		name = "page.html"
	}
	data, err := files.ReadFile(name)
	if err != nil { // it is part of the binary
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", kind+"; charset=utf-8")
	w.Header().Set("Content-Security-Policy", Policy)
	w.Header().Set("Cache-Control", "no-store")
	w.Write(data)
}

// Sources is what there is to look at.
type Sources struct {
	Service string   `json:"service"`
	Sources []Source `json:"sources"`
}

// A Source is a profile that exists or can be taken.
type Source struct {
	ID    string `json:"id"`
	Group string `json:"group"`
	About string `json:"about"`
	Timed bool   `json:"timed,omitempty"` // it takes the seconds that are asked for
}

// ID makes the identity of a profile of its parts, which Split takes apart.
func ID(kind, name string) string { return kind + ":" + name }

// Split is the reverse of ID. What has no kind is a profile of the process.
func Split(id string) (kind, name string) {
	kind, name, ok := strings.Cut(id, ":")
	if !ok {
		return "", id
	}
	return kind, name
}
