package routers

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/gin-gonic/gin"
	"github.com/go-chi/chi/v5"
	"github.com/go-chi/chi/v5/middleware"
	"github.com/gorilla/mux"
	"github.com/labstack/echo/v4"
	echomiddleware "github.com/labstack/echo/v4/middleware"

	"github.com/loadline-go/loadline/observe"
)

func start(t testing.TB) *observe.Telemetry {
	t.Helper()
	tel, err := observe.Start(context.Background(), observe.Config{
		Service: "routers", AdminAddr: observe.Off, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := tel.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return tel
}

// The same service with each router: a route with a parameter, one in a group
// with a prefix, an error, a panic that the router's own middleware recovers,
// and a stream.
func services() map[string]http.Handler {
	stream := func(w http.ResponseWriter) {
		w.Header().Set("Content-Type", "text/event-stream")
		io.WriteString(w, "data: 1\n\n")
		w.(http.Flusher).Flush()
	}

	c := chi.NewRouter()
	c.Use(Chi, recovering, middleware.WithValue("key", "value")) // the last one copies the request
	c.Get("/users/{id}", func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, chi.URLParam(r, "id")) })
	c.Get("/events", func(w http.ResponseWriter, r *http.Request) { stream(w) })
	c.Route("/api", func(c chi.Router) {
		c.Post("/orders/{id}", func(w http.ResponseWriter, r *http.Request) { http.Error(w, "no", http.StatusBadGateway) })
		c.Get("/panic/{id}", func(http.ResponseWriter, *http.Request) { panic("boom") })
	})

	gin.SetMode(gin.ReleaseMode)
	g := gin.New()
	g.Use(Gin, gin.CustomRecoveryWithWriter(nil, func(c *gin.Context, _ any) { c.AbortWithStatus(http.StatusInternalServerError) }))
	g.GET("/users/:id", func(c *gin.Context) { c.String(http.StatusOK, c.Param("id")) })
	g.GET("/events", func(c *gin.Context) { stream(c.Writer) })
	api := g.Group("/api")
	api.POST("/orders/:id", func(c *gin.Context) { c.String(http.StatusBadGateway, "no") })
	api.GET("/panic/:id", func(*gin.Context) { panic("boom") })

	e := echo.New()
	e.Use(Echo, echomiddleware.RecoverWithConfig(echomiddleware.RecoverConfig{DisablePrintStack: true}))
	e.GET("/users/:id", func(c echo.Context) error { return c.String(http.StatusOK, c.Param("id")) })
	e.GET("/events", func(c echo.Context) error { stream(c.Response()); return nil })
	group := e.Group("/api")
	group.POST("/orders/:id", func(echo.Context) error { return echo.NewHTTPError(http.StatusBadGateway, "no") })
	group.GET("/panic/:id", func(echo.Context) error { panic("boom") })

	m := mux.NewRouter()
	m.Use(Gorilla, recovering)
	m.HandleFunc("/users/{id}", func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, mux.Vars(r)["id"]) }).Methods("GET")
	m.HandleFunc("/events", func(w http.ResponseWriter, r *http.Request) { stream(w) }).Methods("GET")
	sub := m.PathPrefix("/api").Subrouter()
	sub.HandleFunc("/orders/{id}", func(w http.ResponseWriter, r *http.Request) { http.Error(w, "no", http.StatusBadGateway) }).Methods("POST")
	sub.HandleFunc("/panic/{id:[0-9]+}", func(http.ResponseWriter, *http.Request) { panic("boom") }).Methods("GET")

	return map[string]http.Handler{"chi": c, "gin": g, "echo": e, "gorilla": m}
}

func recovering(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() {
			if recover() != nil {
				w.WriteHeader(http.StatusInternalServerError)
			}
		}()
		next.ServeHTTP(w, r)
	})
}

func TestRoutersTellTheirRoutes(t *testing.T) {
	for name, router := range services() {
		t.Run(name, func(t *testing.T) {
			tel := start(t)
			srv := httptest.NewServer(tel.Handler(router))
			defer srv.Close()
			for _, request := range []string{
				"GET /users/1", "GET /users/2", "POST /api/orders/7", "GET /api/panic/8", "GET /events",
				"GET /nowhere/9", "GET /api/nowhere/9", "GET /users/", "PUT /users/1",
			} {
				method, path, _ := strings.Cut(request, " ")
				req, err := http.NewRequestWithContext(t.Context(), method, srv.URL+path, nil)
				if err != nil {
					t.Fatal(err)
				}
				resp, err := srv.Client().Do(req)
				if err != nil {
					t.Fatal(err)
				}
				body, err := io.ReadAll(resp.Body)
				resp.Body.Close()
				if err != nil || path == "/users/1" && method == "GET" && string(body) != "1" || path == "/events" && string(body) != "data: 1\n\n" {
					t.Errorf("%s: %s %q %v", request, resp.Status, body, err)
				}
			}
			srv.Close() // waits for the handlers
			id := "{id}"
			if name == "gin" || name == "echo" {
				id = ":id"
			}
			digits := id
			if name == "gorilla" {
				digits = "{id:[0-9]+}"
			}
			want := map[string]int{
				"GET 200 /users/" + id:         2,
				"POST 502 /api/orders/" + id:   1,
				"GET 500 /api/panic/" + digits: 1,
				"GET stream /events":           1,
				"GET 404 unmatched":            3,
			}
			// What else they say of a request that has no handler.
			switch name {
			case "chi":
				want["GET 404 unmatched"], want["GET 404 /api/*"], want["PUT 405 unmatched"] = 2, 1, 1
			case "gin":
				want["PUT 404 unmatched"] = 1 // HandleMethodNotAllowed is off
			case "echo":
				want["PUT 405 /users/:id"] = 1
			case "gorilla":
				want["PUT 405 unmatched"] = 1
			}
			if got := counts(t, tel); !maps.Equal(got, want) {
				t.Errorf("counted %v\nwant    %v", got, want)
			}
		})
	}
}

// counts is how many requests were counted by method, status and route.
func counts(t testing.TB, tel *observe.Telemetry) map[string]int {
	t.Helper()
	families, err := tel.Registry().Gather()
	if err != nil {
		t.Fatal(err)
	}
	n := map[string]int{}
	for _, f := range families {
		stream := f.GetName() == "observe_http_server_stream_duration_seconds"
		if f.GetName() != "http_server_request_duration_seconds" && !stream {
			continue
		}
		for _, m := range f.GetMetric() {
			labels := map[string]string{"http_response_status_code": "stream"}
			for _, l := range m.GetLabel() {
				labels[l.GetName()] = l.GetValue()
			}
			if c := int(m.GetHistogram().GetSampleCount()); c > 0 {
				n[fmt.Sprintf("%s %s %s", labels["http_request_method"], labels["http_response_status_code"], labels["http_route"])] += c
			}
		}
	}
	return n
}

func show(router http.Handler, path string) {
	tel, err := observe.Start(context.Background(), observe.Config{Service: "routers", AdminAddr: observe.Off})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer tel.Shutdown(context.Background())
	tel.Handler(router).ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", path, nil))
	w := httptest.NewRecorder()
	tel.Admin().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	for line := range strings.Lines(w.Body.String()) {
		if strings.HasPrefix(line, "http_server_request_duration_seconds_count") {
			_, route, _ := strings.Cut(line, "http_route=")
			route, _, _ = strings.Cut(route, ",")
			fmt.Println(route)
		}
	}
}

func ExampleChi() {
	router := chi.NewRouter()
	router.Use(Chi)
	router.Get("/users/{id}", func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, chi.URLParam(r, "id")) })
	show(router, "/users/42")
	// Output: "/users/{id}"
}

func ExampleGin() {
	gin.SetMode(gin.ReleaseMode)
	engine := gin.New()
	engine.Use(Gin)
	engine.GET("/users/:id", func(c *gin.Context) { c.String(http.StatusOK, c.Param("id")) })
	show(engine, "/users/42")
	// Output: "/users/:id"
}

func ExampleEcho() {
	e := echo.New()
	e.Use(Echo)
	e.GET("/users/:id", func(c echo.Context) error { return c.String(http.StatusOK, c.Param("id")) })
	show(e, "/users/42")
	// Output: "/users/:id"
}

func ExampleGorilla() {
	router := mux.NewRouter()
	router.Use(Gorilla)
	router.HandleFunc("/users/{id}", func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, mux.Vars(r)["id"]) })
	show(router, "/users/42")
	// Output: "/users/{id}"
}
