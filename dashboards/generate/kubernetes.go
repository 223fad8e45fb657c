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
// a dependency is slow, and more replicas make that worse. Each query counts
// for all pods what one may have a threshold of.
const (
	inFlight = `sum(http_server_active_requests{job="shop"})`
	// Of a queue that all share each pod tells the same length.
	waiting = `sum(max by (queue) (observe_queue_length{job="shop"}))`
	// GOMAXPROCS follows the container's limit: how many pods' worth of CPU is used.
	cpuOfLimit = `sum(rate(process_cpu_time_seconds_total{job="shop"}[2m])) / max(go_processor_limit{job="shop"})`
)

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
	return "# An example for KEDA: put your service in, the requests that one pod handles at a time at 70 % CPU,\n" +
		"# and how many items may wait for each pod; leave out the trigger of what it has not.\n" +
		yaml(append(object("keda.sh/v1alpha1", "ScaledObject", "shop", "shop", nil), pair{"spec", []pair{
			{"scaleTargetRef", []pair{{"name", "shop"}}},
			{"minReplicaCount", 2}, {"maxReplicaCount", 20},
			{"fallback", []pair{{"failureThreshold", 3}, {"replicas", 4}}},
			{"advanced", []pair{{"horizontalPodAutoscalerConfig", []pair{{"behavior", behavior()}}}}},
			{"triggers", []any{
				trigger(inFlight, "20"),
				trigger(waiting, "100"),
				trigger(cpuOfLimit, "0.7"),
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
	return "# An example for the HorizontalPodAutoscaler with prometheus-adapter (prometheus-adapter.yaml). Leave out what the\n" +
		"# service has not: while one metric is missing, the others scale up and none scales down.\n" +
		yaml(append(object("autoscaling/v2", "HorizontalPodAutoscaler", "shop", "shop", nil), pair{"spec", []pair{
			{"scaleTargetRef", []pair{{"apiVersion", "apps/v1"}, {"kind", "Deployment"}, {"name", "shop"}}},
			{"minReplicas", 2}, {"maxReplicas", 20},
			{"behavior", behavior()},
			{"metrics", []any{
				podsMetric("http_server_active_requests", "20"),
				podsMetric("process_cpu_of_limit", "700m"),
				[]pair{{"type", "External"}, {"external", []pair{
					{"metric", []pair{{"name", "observe_queue_length"}, {"selector", []pair{{"matchLabels", []pair{{"job", "shop"}}}}}}},
					{"target", []pair{{"type", "AverageValue"}, {"averageValue", "100"}}},
				}}},
			}},
		}}))
}

func podsMetric(name, average string) []pair {
	return []pair{{"type", "Pods"}, {"pods", []pair{
		{"metric", []pair{{"name", name}}},
		{"target", []pair{{"type", "AverageValue"}, {"averageValue", average}}},
	}}}
}

func adapter() string {
	byNamespace := pair{"namespace", []pair{{"resource", "namespace"}}}
	ofPods := pair{"resources", []pair{{"overrides", []pair{byNamespace, {"pod", []pair{{"resource", "pod"}}}}}}}
	return "# Values for the chart prometheus-adapter: requests in flight and used CPU of the limit as metrics of pods,\n" +
		"# the length of queues as a metric of the namespace.\n" +
		yaml([]pair{{"rules", []pair{
			{"custom", []any{
				[]pair{
					{"seriesQuery", `http_server_active_requests{namespace!="", pod!=""}`},
					ofPods,
					{"metricsQuery", "sum by (<<.GroupBy>>) (<<.Series>>{<<.LabelMatchers>>})"},
				},
				[]pair{
					{"seriesQuery", `process_cpu_time_seconds_total{namespace!="", pod!=""}`},
					ofPods,
					{"name", []pair{{"as", "process_cpu_of_limit"}}},
					{"metricsQuery", "sum by (<<.GroupBy>>) (rate(<<.Series>>{<<.LabelMatchers>>}[2m])) / sum by (<<.GroupBy>>) (go_processor_limit{<<.LabelMatchers>>})"},
				},
			}},
			{"external", []any{[]pair{
				{"seriesQuery", `observe_queue_length{namespace!=""}`},
				{"resources", []pair{{"overrides", []pair{byNamespace}}}},
				// An external metric is not grouped by any object.
				{"metricsQuery", "sum(max by (queue) (<<.Series>>{<<.LabelMatchers>>}))"},
			}}},
		}}})
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
