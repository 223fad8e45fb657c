package server

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
)

// Webhook is a receiver of Alertmanager's notifications.
type Webhook struct {
	URL string

	mu     sync.Mutex
	alerts []WebhookAlert
}

// WebhookAlert is one alert of a notification.
type WebhookAlert struct {
	Status              string
	Labels, Annotations map[string]string
}

// StartWebhook starts a receiver in the test itself.
func StartWebhook(t testing.TB) *Webhook {
	w := &Webhook{}
	s := httptest.NewServer(w)
	t.Cleanup(s.Close)
	w.URL = s.URL
	return w
}

func (w *Webhook) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	var notification struct{ Alerts []WebhookAlert }
	if err := json.NewDecoder(r.Body).Decode(&notification); err != nil {
		http.Error(rw, err.Error(), http.StatusBadRequest)
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.alerts = append(w.alerts, notification.Alerts...)
}

// Alerts returns what has been received so far.
func (w *Webhook) Alerts() []WebhookAlert {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]WebhookAlert(nil), w.alerts...)
}

// Alertmanager is a running Alertmanager.
type Alertmanager struct {
	*Process
	Addr string
}

// StartAlertmanager starts the lane's Alertmanager, which sends every alert to the webhook.
func StartAlertmanager(t testing.TB, lane Lane, hook *Webhook) *Alertmanager {
	t.Helper()
	set, name := "alertmanager", "alertmanager"
	if lane == Quick {
		set, name = "debian", "usr/bin/prometheus-alertmanager"
	}
	path, data := Binary(t, set, name), t.TempDir()
	file := writeFile(t, "alertmanager.yml", fmt.Sprintf(`
route: {receiver: hook, group_wait: 100ms, group_interval: 1s, repeat_interval: 1h, group_by: [alertname]}
receivers: [{name: hook, webhook_configs: [{url: %q, send_resolved: true}]}]
`, hook.URL))
	a := &Alertmanager{}
	a.Process = StartOnPorts(t, 1, func(ports []string) Command {
		a.Addr = "127.0.0.1:" + ports[0]
		return Command{
			Name: "alertmanager (" + set + ")", Path: path, Dir: data, Health: "http://" + a.Addr + "/-/ready",
			Args: []string{
				"--config.file=" + file, "--storage.path=" + data, "--web.listen-address=" + a.Addr,
				"--cluster.listen-address=", "--log.level=warn",
			},
		}
	})
	return a
}
