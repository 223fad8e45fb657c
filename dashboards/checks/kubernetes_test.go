package checks

import (
	"bytes"
	"encoding/json"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	monitoring "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	apps "k8s.io/api/apps/v1"
	autoscaling "k8s.io/api/autoscaling/v2"
	core "k8s.io/api/core/v1"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
	"sigs.k8s.io/yaml"
)

// objects are the documents of a file.
func objects(text []byte) [][]byte {
	return bytes.Split(bytes.TrimSpace(text), []byte("\n---\n"))
}

// strictly decodes one object, every field of which must be known.
func strictly[T any](t *testing.T, name string, text []byte) *T {
	t.Helper()
	into := new(T)
	if err := yaml.UnmarshalStrict(text, into); err != nil {
		t.Errorf("%s: %v", name, err)
	}
	return into
}

func TestObjectsAreWhatTheClusterReads(t *testing.T) {
	file := func(name string) []byte { return read(t, filepath.Join("..", "kubernetes", filepath.FromSlash(name))) }

	rule := strictly[monitoring.PrometheusRule](t, "prometheusrule", file("base/prometheusrule.yaml"))
	alerts := 0
	for _, g := range rule.Spec.Groups {
		for _, r := range g.Rules {
			if r.Alert != "" {
				alerts++
			}
		}
	}
	if alerts != len(alertRules(t)) {
		t.Errorf("%d alerts in the PrometheusRule, %d in the files", alerts, len(alertRules(t)))
	}

	service := strictly[monitoring.ServiceMonitor](t, "servicemonitor", file("base/servicemonitor.yaml"))
	pod := strictly[monitoring.PodMonitor](t, "podmonitor", file("base/podmonitor.yaml"))
	deployment := strictly[apps.Deployment](t, "deployment", file("deployment.yaml"))
	if len(service.Spec.Endpoints) != 1 || len(pod.Spec.PodMetricsEndpoints) != 1 || len(deployment.Spec.Template.Spec.Containers) != 1 {
		t.Fatal("no endpoint or no container")
	}
	// The example's pods are found, by label and by the name of their port.
	labels, ports := deployment.Spec.Template.Labels, deployment.Spec.Template.Spec.Containers[0].Ports
	for k, v := range pod.Spec.Selector.MatchLabels {
		if labels[k] != v || service.Spec.Selector.MatchLabels[k] != v {
			t.Errorf("the pods of deployment.yaml have no label %s=%s, or the ServiceMonitor does not ask for it", k, v)
		}
	}
	port := service.Spec.Endpoints[0].Port
	if p := pod.Spec.PodMetricsEndpoints[0].Port; p == nil || *p != port || !slices.ContainsFunc(ports, func(p core.ContainerPort) bool { return p.Name == port }) {
		t.Errorf("no port is called %q", port)
	}

	hpa := strictly[autoscaling.HorizontalPodAutoscaler](t, "hpa", file("autoscaling/hpa.yaml"))
	if len(hpa.Spec.Metrics) == 0 || hpa.Spec.ScaleTargetRef.Name != deployment.Name {
		t.Errorf("the autoscaler scales %s by %d metrics", hpa.Spec.ScaleTargetRef.Name, len(hpa.Spec.Metrics))
	}

	pages := files(t, "grafana/*.json")
	maps := objects(file("base/dashboards.yaml"))
	if len(maps) != len(pages) {
		t.Errorf("%d ConfigMaps, %d pages", len(maps), len(pages))
	}
	for _, text := range maps {
		m := strictly[core.ConfigMap](t, "dashboards", text)
		if m.Labels["grafana_dashboard"] != "1" || len(m.Data) != 1 {
			t.Errorf("%s: labels %v, %d files", m.Name, m.Labels, len(m.Data))
		}
		for name, page := range m.Data {
			if !json.Valid([]byte(page)) || strings.TrimSpace(page) != string(bytes.TrimSpace(read(t, filepath.Join("..", "grafana", name)))) {
				t.Errorf("%s: %s is not the page of grafana/", m.Name, name)
			}
			if len(page) > 1<<20 {
				t.Errorf("%s: %d bytes, a ConfigMap holds a mebibyte", m.Name, len(page))
			}
		}
	}

	// KEDA's default takes a metric that is missing for zero, and would scale a
	// service down that nobody observes.
	var scaled struct {
		Spec struct {
			Fallback map[string]any
			Triggers []struct {
				Type     string
				Metadata map[string]string
			}
		}
	}
	if err := yaml.Unmarshal(file("autoscaling/keda.yaml"), &scaled); err != nil || len(scaled.Spec.Triggers) == 0 || scaled.Spec.Fallback == nil {
		t.Errorf("keda: %v, %+v", err, scaled)
	}
	for _, trigger := range scaled.Spec.Triggers {
		if trigger.Metadata["ignoreNullValues"] != "false" {
			t.Errorf("keda: a missing metric counts as zero in %v", trigger)
		}
		if _, err := promql.ParseExpr(trigger.Metadata["query"]); err != nil {
			t.Errorf("keda: %v", err)
		}
	}
}

func TestKustomizeBuilds(t *testing.T) {
	for _, test := range []struct {
		folder string
		want   map[string]int // objects by kind
		label  string
	}{
		{"kubernetes", map[string]int{"PrometheusRule": 1, "ServiceMonitor": 1, "ConfigMap": 8}, ""},
		{"kubernetes/overlays/kube-prometheus-stack", map[string]int{"PrometheusRule": 1, "ServiceMonitor": 1, "ConfigMap": 8}, "release"},
		{"kubernetes/overlays/grafana-operator", map[string]int{"PrometheusRule": 1, "ServiceMonitor": 1, "ConfigMap": 8, "GrafanaDashboard": 8}, ""},
	} {
		built, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), filepath.Join("..", filepath.FromSlash(test.folder)))
		if err != nil {
			t.Errorf("%s: %v", test.folder, err)
			continue
		}
		got := map[string]int{}
		for _, r := range built.Resources() {
			got[r.GetKind()]++
			if test.label != "" && r.GetLabels()[test.label] == "" {
				t.Errorf("%s: %s %s has no label %s", test.folder, r.GetKind(), r.GetName(), test.label)
			}
			if strings.TrimSpace(r.GetNamespace()) == "" {
				t.Errorf("%s: %s %s has no namespace", test.folder, r.GetKind(), r.GetName())
			}
		}
		for kind, n := range test.want {
			if got[kind] != n {
				t.Errorf("%s: %v, want %v", test.folder, got, test.want)
			}
		}
	}
}
