// Package routers shows how routers that are not a [net/http.ServeMux] tell
// Loadline which route they matched: each by a middleware of a few lines around
// [observe.SetRoute], to be copied. There is nothing to import from here.
//
// The whole router goes into one tel.Handler, outside of every middleware:
//
//	tel.Serve(ctx, &http.Server{Addr: ":8080", Handler: tel.Handler(router)})
//
// The route is the router's own pattern ("/users/{id}", "/users/:id"), so its
// values are as few as the routes of the program. What no route matched counts
// as "unmatched". Group and mount prefixes are part of the pattern.
package routers

import (
	"net/http"

	"github.com/gin-gonic/gin"
	"github.com/go-chi/chi/v5"
	"github.com/gorilla/mux"
	"github.com/labstack/echo/v4"

	"github.com/loadline-go/loadline/observe"
)

// Chi is a middleware for the outermost chi router: router.Use(Chi). chi knows
// the pattern only when all sub-routers have matched, so it is asked afterwards,
// also after a panic.
func Chi(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() {
			if match := chi.RouteContext(r.Context()); match.Routes != nil && len(match.RoutePatterns) > 0 {
				observe.SetRoute(r.Context(), match.RoutePattern())
			}
		}()
		next.ServeHTTP(w, r)
	})
}

// Gin is a middleware for gin: engine.Use(Gin), before others. gin matches
// before it calls any.
func Gin(c *gin.Context) {
	observe.SetRoute(c.Request.Context(), c.FullPath())
	c.Next()
}

// Echo is a middleware for echo: e.Use(Echo). It must not be e.Pre, which runs
// before the route is known.
func Echo(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		observe.SetRoute(c.Request().Context(), c.Path())
		return next(c)
	}
}

// Gorilla is a middleware for gorilla/mux: router.Use(Gorilla). It runs for
// matched requests only.
func Gorilla(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if route := mux.CurrentRoute(r); route != nil {
			if pattern, err := route.GetPathTemplate(); err == nil {
				observe.SetRoute(r.Context(), pattern)
			}
		}
		next.ServeHTTP(w, r)
	})
}
