package main

import (
	"fmt"
	"strings"

	"github.com/loadline-go/loadline/dashboards/internal/plan"
)

// object begins a Kubernetes object.
func object(apiVersion, kind, name, namespace string, labels []pair) []pair {
	meta := []pair{{"name", name}, {"namespace", namespace}}
	if len(labels) > 0 {
		meta = append(meta, pair{"labels", labels})
	}
	return []pair{{"apiVersion", apiVersion}, {"kind", kind}, {"metadata", meta}}
}

// kubernetes returns the objects by path: rules, scraping and pages for
// kubectl apply -k, overlays for the two usual setups, and examples that are
// not applied.
func kubernetes(c plan.Config, pages map[string]string) map[string]string {
	base := []any{"prometheusrule.yaml", "servicemonitor.yaml", "dashboards.yaml"}
	files := map[string]string{
		"kustomization.yaml": header + `# kubectl apply -k dashboards/kubernetes
#
# Are the rules or the monitor not picked up? Prometheus selects them by label:
#   kubectl get prometheus -A -o jsonpath='{.items[*].spec.ruleSelector}'
# The chart kube-prometheus-stack wants its release's name; overlays/ has it.
` + yaml([]pair{{"apiVersion", "kustomize.config.k8s.io/v1beta1"}, {"kind", "Kustomization"}, {"resources", []any{"base"}}}),
		"base/kustomization.yaml": header + yaml([]pair{{"apiVersion", "kustomize.config.k8s.io/v1beta1"}, {"kind", "Kustomization"}, {"resources", base}}),
		"base/prometheusrule.yaml": header + yaml(append(object("monitoring.coreos.com/v1", "PrometheusRule", "loadline", c.Namespace, nil),
			pair{"spec", []pair{{"groups", ruleGroups(c, c.Groups())}}})),
		"base/servicemonitor.yaml": header + monitor(c, "ServiceMonitor", "endpoints"),
		"base/podmonitor.yaml":     header + "# Instead of servicemonitor.yaml, for pods without a Service.\n" + monitor(c, "PodMonitor", "podMetricsEndpoints"),
		"base/dashboards.yaml":     header + configMaps(c, pages),
		"overlays/kube-prometheus-stack/kustomization.yaml": header + yaml([]pair{
			{"apiVersion", "kustomize.config.k8s.io/v1beta1"}, {"kind", "Kustomization"},
			{"resources", []any{"../../base"}},
			{"labels", []any{[]pair{{"pairs", []pair{{"release", "kube-prometheus-stack"}}}}}},
		}),
		"overlays/grafana-operator/kustomization.yaml": header + yaml([]pair{
			{"apiVersion", "kustomize.config.k8s.io/v1beta1"}, {"kind", "Kustomization"},
			{"resources", []any{"../../base", "grafanadashboards.yaml"}},
		}),
		"overlays/grafana-operator/grafanadashboards.yaml": header + grafanaDashboards(c, pages),
		"autoscaling/keda.yaml":                            header + keda(),
		"autoscaling/hpa.yaml":                             header + hpa(),
		"autoscaling/prometheus-adapter.yaml":              header + adapter(),
		"deployment.yaml":                                  header + deployment(),
	}
	return files
}

// documents joins several objects in one file.
func documents(docs [][]pair) string {
	var out []string
	for _, d := range docs {
		out = append(out, yaml(d))
	}
	return strings.Join(out, "---\n")
}

// monitor scrapes what has the label and a port named admin. Native histograms
// come over protobuf alone, exemplars over OpenMetrics and protobuf.
func monitor(c plan.Config, kind, endpoints string) string {
	return yaml(append(object("monitoring.coreos.com/v1", kind, "loadline", c.Namespace, nil), pair{"spec", []pair{
		{"jobLabel", "app.kubernetes.io/name"},
		{"namespaceSelector", []pair{{"any", true}}},
		{"selector", []pair{{"matchLabels", []pair{{"loadline", "scrape"}}}}},
		{"sampleLimit", 50000},
		{"scrapeProtocols", []any{"PrometheusProto", "OpenMetricsText1.0.0", "PrometheusText0.0.4"}},
		{"scrapeNativeHistograms", true},
		{"scrapeClassicHistograms", true},
		{endpoints, []any{[]pair{{"port", "admin"}, {"path", "/metrics"}, {"interval", "15s"}, {"scrapeTimeout", "10s"}}}},
	}}))
}

// configMaps hold the pages for Grafana's sidecar, which looks for the label.
func configMaps(c plan.Config, pages map[string]string) string {
	var docs [][]pair
	for _, d := range c.Dashboards() {
		m := object("v1", "ConfigMap", d.UID, c.Namespace, []pair{{"grafana_dashboard", "1"}})
		meta := append(m[2].value.([]pair), pair{"annotations", []pair{{"grafana_folder", "Loadline"}}})
		m[2].value = meta
		docs = append(docs, append(m, pair{"data", []pair{{d.UID + ".json", pages[d.UID]}}}))
	}
	return documents(docs)
}

func grafanaDashboards(c plan.Config, pages map[string]string) string {
	var docs [][]pair
	for _, d := range c.Dashboards() {
		docs = append(docs, append(object("grafana.integreatly.org/v1beta1", "GrafanaDashboard", d.UID, c.Namespace, nil), pair{"spec", []pair{
			{"folder", "Loadline"},
			{"instanceSelector", []pair{{"matchLabels", []pair{{"dashboards", "grafana"}}}}},
			{"configMapRef", []pair{{"name", d.UID}, {"key", d.UID + ".json"}}},
		}}))
	}
	return documents(docs)
}

// The scaling examples follow saturation, not latency: latency also rises when
// a dependency is slow, and more replicas make that worse.
const inFlight = `sum(http_server_active_requests{job="shop"})`

func keda() string {
	trigger := func(query, threshold string) any {
		return []pair{{"type", "prometheus"}, {"metadata", []pair{
			{"serverAddress", "http://prometheus-operated.monitoring.svc:9090"},
			{"query", query},
			{"threshold", threshold},
			// The default takes a metric that is missing for zero, and scales a
			// service down because nobody looks at it.
			{"ignoreNullValues", "false"},
		}}}
	}
	return "# An example for KEDA: put your service, and the concurrency of one pod at 70 % CPU, in.\n" +
		yaml(append(object("keda.sh/v1alpha1", "ScaledObject", "shop", "shop", nil), pair{"spec", []pair{
			{"scaleTargetRef", []pair{{"name", "shop"}}},
			{"minReplicaCount", 2}, {"maxReplicaCount", 20},
			{"fallback", []pair{{"failureThreshold", 3}, {"replicas", 4}}},
			{"advanced", []pair{{"horizontalPodAutoscalerConfig", []pair{{"behavior", behavior()}}}}},
			{"triggers", []any{
				trigger(inFlight, "20"),
				trigger(`sum(rate(process_cpu_time_seconds_total{job="shop"}[2m]))`, "1.4"),
			}},
		}}))
}

// behavior grows fast and shrinks slowly.
func behavior() []pair {
	policy := func(percent, seconds int) []any {
		return []any{[]pair{{"type", "Percent"}, {"value", percent}, {"periodSeconds", seconds}}}
	}
	return []pair{
		{"scaleUp", []pair{{"policies", policy(100, 30)}}},
		{"scaleDown", []pair{{"stabilizationWindowSeconds", 300}, {"policies", policy(10, 60)}}},
	}
}

func hpa() string {
	return "# An example for the HorizontalPodAutoscaler with prometheus-adapter (prometheus-adapter.yaml).\n" +
		yaml(append(object("autoscaling/v2", "HorizontalPodAutoscaler", "shop", "shop", nil), pair{"spec", []pair{
			{"scaleTargetRef", []pair{{"apiVersion", "apps/v1"}, {"kind", "Deployment"}, {"name", "shop"}}},
			{"minReplicas", 2}, {"maxReplicas", 20},
			{"behavior", behavior()},
			{"metrics", []any{[]pair{{"type", "Pods"}, {"pods", []pair{
				{"metric", []pair{{"name", "http_server_active_requests"}}},
				{"target", []pair{{"type", "AverageValue"}, {"averageValue", "20"}}},
			}}}}},
		}}))
}

func adapter() string {
	return "# Values for the chart prometheus-adapter: in-flight requests as a metric of pods.\n" + yaml([]pair{{"rules", []pair{{"custom", []any{[]pair{
		{"seriesQuery", `http_server_active_requests{namespace!="", pod!=""}`},
		{"resources", []pair{{"overrides", []pair{{"namespace", []pair{{"resource", "namespace"}}}, {"pod", []pair{{"resource", "pod"}}}}}}},
		{"metricsQuery", "sum by (<<.GroupBy>>) (<<.Series>>{<<.LabelMatchers>>})"},
	}}}}}})
}

// deployment is what a pod needs: the admin address open to the cluster,
// probes, limits, and time to end.
func deployment() string {
	probe := func(path string, period int) []pair {
		return []pair{{"httpGet", []pair{{"path", path}, {"port", "admin"}}}, {"periodSeconds", period}}
	}
	return fmt.Sprintf("# An example: what a Deployment of a service with Loadline needs.\n%s", yaml(append(object("apps/v1", "Deployment", "shop", "shop", nil), pair{"spec", []pair{
		{"replicas", 2},
		{"selector", []pair{{"matchLabels", []pair{{"app.kubernetes.io/name", "shop"}}}}},
		{"template", []pair{
			{"metadata", []pair{{"labels", []pair{{"app.kubernetes.io/name", "shop"}, {"loadline", "scrape"}}}}},
			{"spec", []pair{
				// Longer than the wait for the load balancer and the drain together.
				{"terminationGracePeriodSeconds", 60},
				{"containers", []any{[]pair{
					{"name", "shop"}, {"image", "example.com/shop:1"},
					{"env", []any{
						// The admin address listens on localhost unless told otherwise.
						[]pair{{"name", "OTEL_EXPORTER_PROMETHEUS_HOST"}, {"value", "0.0.0.0"}},
						[]pair{{"name", "OTEL_SERVICE_NAME"}, {"value", "shop"}},
						// 90 % of the memory limit below.
						[]pair{{"name", "GOMEMLIMIT"}, {"value", "460MiB"}},
					}},
					{"ports", []any{
						[]pair{{"name", "http"}, {"containerPort", 8080}},
						[]pair{{"name", "admin"}, {"containerPort", 9464}},
					}},
					{"livenessProbe", probe("/livez", 10)},
					{"readinessProbe", probe("/readyz", 5)},
					{"resources", []pair{
						{"requests", []pair{{"cpu", "500m"}, {"memory", "512Mi"}}},
						{"limits", []pair{{"memory", "512Mi"}}},
					}},
				}}},
			}},
		}},
	}})))
}
