package observe

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"net/http"
	"net/netip"
	"strings"
	"time"
)

const (
	adminCookie = "loadline_admin"
	// A working day; the process's end is the end of all sessions, too.
	adminSession = 12 * time.Hour
	// Below that a token could be guessed.
	minAdminToken = 16
)

// guard decides who may see the inside of the process: who is on this machine
// and speaks for himself, and who has the token.
type guard struct {
	token   [sha256.Size]byte // its hash: hashes are of one length
	hasOne  bool
	proxied bool   // requests through proxies are let in, with the token
	session string // the cookie's value: nobody can make it who has not this process's key
}

func newGuard(c Config) *guard {
	g := &guard{hasOne: c.AdminToken != "", proxied: c.AdminProxied}
	if g.hasOne {
		g.token = sha256.Sum256([]byte(c.AdminToken))
		key := make([]byte, 32)
		rand.Read(key) // never fails
		mac := hmac.New(sha256.New, key)
		mac.Write(g.token[:])
		g.session = base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
	}
	return g
}

// private lets only those through who may see the inside.
func (g *guard) private(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case crossSite(r) || throughProxy(r) && !g.proxied:
		case g.authorised(r) || fromHere(r):
			next.ServeHTTP(w, r)
			return
		case g.hasOne:
			w.Header().Set("Cache-Control", "no-store")
			if (r.Method == http.MethodGet || r.Method == http.MethodHead) && strings.Contains(r.Header.Get("Accept"), "text/html") {
				http.Redirect(w, r, "/login", http.StatusSeeOther)
				return
			}
			w.Header().Set("WWW-Authenticate", "Bearer")
			http.Error(w, "this page wants the token: Authorization: Bearer $OBSERVE_ADMIN_TOKEN", http.StatusUnauthorized)
			return
		}
		http.Error(w, "this page is only for clients on the same machine: use kubectl port-forward or an SSH tunnel", http.StatusForbidden)
	})
}

func (g *guard) authorised(r *http.Request) bool {
	if !g.hasOne {
		return false
	}
	if kind, token, ok := strings.Cut(r.Header.Get("Authorization"), " "); ok && strings.EqualFold(kind, "Bearer") {
		return g.is(token)
	}
	c, err := r.Cookie(adminCookie)
	return err == nil && subtle.ConstantTimeCompare([]byte(c.Value), []byte(g.session)) == 1
}

// is compares in a time that tells nothing of the token, its length included.
func (g *guard) is(token string) bool {
	sum := sha256.Sum256([]byte(token))
	return subtle.ConstantTimeCompare(sum[:], g.token[:]) == 1
}

// serveLogin shows the form, and gives who knows the token a cookie.
func (g *guard) serveLogin(service string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if crossSite(r) || throughProxy(r) && !g.proxied {
			http.Error(w, "not from here", http.StatusForbidden)
			return
		}
		data := pageData{Title: service}
		w.Header().Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'")
		if r.Method == http.MethodPost {
			r.Body = http.MaxBytesReader(w, r.Body, 4<<10)
			if g.is(r.PostFormValue("token")) {
				http.SetCookie(w, &http.Cookie{
					Name: adminCookie, Value: g.session, Path: "/", MaxAge: int(adminSession / time.Second),
					HttpOnly: true, SameSite: http.SameSiteStrictMode,
					Secure: r.TLS != nil || g.proxied && r.Header.Get("X-Forwarded-Proto") == "https",
				})
				w.Header().Set("Cache-Control", "no-store")
				http.Redirect(w, r, "/", http.StatusSeeOther)
				return
			}
			data.Wrong = true
			w.Header().Set("Content-Type", "text/html; charset=utf-8")
			w.Header().Set("Cache-Control", "no-store")
			w.WriteHeader(http.StatusUnauthorized)
		}
		render(w, "login", data)
	})
}

// crossSite tells requests that a page of another site makes. It may send its
// reader here, but not take a profile with an <img>.
func crossSite(r *http.Request) bool {
	site := r.Header.Get("Sec-Fetch-Site")
	return (site == "cross-site" || site == "same-site") && r.Header.Get("Sec-Fetch-Mode") != "navigate"
}

// Headers that proxies add: who sends one speaks for somebody else.
var proxyHeaders = []string{"Forwarded", "Via", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Real-Ip"}

func throughProxy(r *http.Request) bool {
	for _, h := range proxyHeaders {
		if _, ok := r.Header[h]; ok {
			return true
		}
	}
	return false
}

// fromHere tells clients that are on this machine and speak for themselves. The
// Host header is looked at too: a page from elsewhere that has its own name
// resolve to 127.0.0.1 (DNS rebinding) sends its own name there.
func fromHere(r *http.Request) bool {
	if crossSite(r) || throughProxy(r) {
		return false
	}
	peer, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil || !peer.Addr().Unmap().IsLoopback() {
		return false
	}
	host, _ := hostPort(r.Host)
	if strings.EqualFold(host, "localhost") {
		return true
	}
	addr, err := netip.ParseAddr(host)
	return err == nil && addr.Unmap().IsLoopback()
}
