package checks

import (
	"encoding/json"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"testing"

	autoscaling "k8s.io/api/autoscaling/v2"
	"k8s.io/kube-openapi/pkg/validation/spec"
	"k8s.io/kube-openapi/pkg/validation/strfmt"
	"k8s.io/kube-openapi/pkg/validation/validate"
	adapter "sigs.k8s.io/prometheus-adapter/pkg/config"
	"sigs.k8s.io/yaml"
)

// A module whose sources are read and not compiled: KEDA's types alone would
// bring four hundred packages and three minutes of compiling. What the module
// proxy gives must have this sum.
type module struct{ path, version, sum string }

var (
	keda            = module{"github.com/kedacore/keda/v2", "v2.21.0", "h1:R6z2HZvstK4RLUMxroNACzBj74xGxt3kG59b5Xc+Xps="}
	grafanaOperator = module{"github.com/grafana/grafana-operator/v5", "v5.19.4", "h1:RJbitTafZsz11YxFIANxc0I+d/eTyj2nbHN9aK317oo="}
)

// file returns a file of the module.
func (m module) file(t *testing.T, name string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "mod", "download", "-json", m.path+"@"+m.version)
	cmd.Dir = t.TempDir() // no go.mod says which version else
	out, err := cmd.Output()
	var got struct{ Dir, Sum, Error string }
	if decoded := json.Unmarshal(out, &got); err != nil || decoded != nil || got.Sum != m.sum {
		t.Fatalf("%s %s: %v, %v, sum %s, want %s: %s", m.path, m.version, err, decoded, got.Sum, m.sum, got.Error)
	}
	return filepath.Join(got.Dir, filepath.FromSlash(name))
}

// definition returns what the API server checks objects of the kind against,
// and refuses fields that are not defined, which it would drop without a word.
func definition(t *testing.T, file, version string) *spec.Schema {
	t.Helper()
	crd := struct {
		Spec struct {
			Versions []struct {
				Name   string
				Schema struct{ OpenAPIV3Schema json.RawMessage }
			}
		}
	}{}
	if err := yaml.Unmarshal(read(t, file), &crd); err != nil {
		t.Fatal(err)
	}
	for _, v := range crd.Spec.Versions {
		if v.Name != version {
			continue
		}
		var tree any
		if err := json.Unmarshal(v.Schema.OpenAPIV3Schema, &tree); err != nil {
			t.Fatal(err)
		}
		closed := 0
		closeObjects(tree, &closed)
		text, err := json.Marshal(tree)
		if err != nil {
			t.Fatal(err)
		}
		schema := new(spec.Schema)
		if err := json.Unmarshal(text, schema); err != nil {
			t.Fatal(err)
		}
		if closed < 10 {
			t.Fatalf("%s: %d objects with properties: the test reads nothing", file, closed)
		}
		return schema
	}
	t.Fatalf("%s defines no version %s", file, version)
	return nil
}

// closeObjects allows no other properties where some are defined.
func closeObjects(v any, closed *int) {
	switch v := v.(type) {
	case map[string]any:
		if _, ok := v["properties"].(map[string]any); ok && v["type"] == "object" && v["additionalProperties"] == nil && v["x-kubernetes-preserve-unknown-fields"] != true {
			v["additionalProperties"] = false
			*closed++
		}
		for _, inner := range v {
			closeObjects(inner, closed)
		}
	case []any:
		for _, inner := range v {
			closeObjects(inner, closed)
		}
	}
}

// refused is why the API server would not take the object as it is.
func refused(t *testing.T, schema *spec.Schema, object []byte) error {
	t.Helper()
	var data any
	if err := yaml.UnmarshalStrict(object, &data); err != nil {
		t.Fatal(err)
	}
	return validate.AgainstSchema(schema, data, strfmt.Default)
}

func TestGrafanaOperatorReadsTheDashboards(t *testing.T) {
	schema := definition(t, grafanaOperator.file(t, "config/crd/bases/grafana.integreatly.org_grafanadashboards.yaml"), "v1beta1")
	pages := objects(read(t, filepath.Join("..", "kubernetes", "overlays", "grafana-operator", "grafanadashboards.yaml")))
	if len(pages) != len(files(t, "grafana/*.json")) {
		t.Errorf("%d objects", len(pages))
	}
	for _, page := range pages {
		if err := refused(t, schema, page); err != nil {
			t.Errorf("%v:\n%s", err, page)
		}
	}
	// That it would say so.
	for _, replace := range [][2]string{{"configMapRef", "configmapRef"}, {"folder: Loadline", "folder: 1"}, {"key: ", "file: "}} {
		if refused(t, schema, []byte(strings.Replace(string(pages[0]), replace[0], replace[1], 1))) == nil {
			t.Errorf("%q for %q is taken", replace[1], replace[0])
		}
	}
}

func TestKEDAReadsTheScaledObject(t *testing.T) {
	schema := definition(t, keda.file(t, "config/crd/bases/keda.sh_scaledobjects.yaml"), "v1alpha1")
	object := read(t, filepath.Join("..", "kubernetes", "autoscaling", "keda.yaml"))
	if err := refused(t, schema, object); err != nil {
		t.Error(err)
	}
	for _, replace := range [][2]string{{"maxReplicaCount", "maxReplicas"}, {"minReplicaCount: 2", `minReplicaCount: "2"`}, {"failureThreshold: 3", ""}} {
		if refused(t, schema, []byte(strings.Replace(string(object), replace[0], replace[1], 1))) == nil {
			t.Errorf("%q for %q is taken", replace[1], replace[0])
		}
	}

	// What a trigger is told is any text to the definition: the scaler's own
	// fields say which there are, and what it does not know it does not read.
	var scaled struct {
		Spec struct {
			Triggers []struct{ Metadata map[string]string }
		}
	}
	if err := yaml.Unmarshal(object, &scaled); err != nil || len(scaled.Spec.Triggers) == 0 {
		t.Fatalf("%v, %d triggers", err, len(scaled.Spec.Triggers))
	}
	known := scalerFields(t, keda.file(t, "pkg/scalers/prometheus_scaler.go"), "prometheusMetadata")
	for _, trigger := range scaled.Spec.Triggers {
		for name := range trigger.Metadata {
			if _, ok := known[name]; !ok {
				t.Errorf("KEDA's Prometheus scaler knows no %s: %v", name, known)
			}
		}
		for name, optional := range known {
			if _, ok := trigger.Metadata[name]; !ok && !optional {
				t.Errorf("KEDA's Prometheus scaler wants %s", name)
			}
		}
		if _, err := strconv.ParseFloat(trigger.Metadata["threshold"], 64); err != nil {
			t.Error(err)
		}
	}
}

var scalerName = regexp.MustCompile(`name=(\w+)`)

// scalerFields are the names that a scaler reads, and whether it does without.
func scalerFields(t *testing.T, file, of string) map[string]bool {
	t.Helper()
	source, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	fields := map[string]bool{}
	ast.Inspect(source, func(n ast.Node) bool {
		named, ok := n.(*ast.TypeSpec)
		if !ok || named.Name.Name != of {
			return true
		}
		for _, f := range named.Type.(*ast.StructType).Fields.List {
			if f.Tag == nil {
				continue
			}
			tag := reflect.StructTag(strings.Trim(f.Tag.Value, "`")).Get("keda")
			if m := scalerName.FindStringSubmatch(tag); m != nil {
				fields[m[1]] = strings.Contains(tag, "optional") || strings.Contains(tag, "default=")
			}
		}
		return false
	})
	if len(fields) < 5 {
		t.Fatalf("%s: %s has fields %v: the test reads nothing", file, of, fields)
	}
	return fields
}

// The chart hands these to the adapter as the rules and externalRules of its file.
func TestPrometheusAdapterReadsItsRules(t *testing.T) {
	text := read(t, filepath.Join("..", "kubernetes", "autoscaling", "prometheus-adapter.yaml"))
	values := strictly[struct {
		Rules struct{ Custom, External []adapter.DiscoveryRule }
	}](t, "prometheus-adapter", text).Rules
	if len(values.Custom) == 0 || len(values.External) == 0 {
		t.Fatal("no rules")
	}
	serves := map[string]bool{} // metrics by their name in the API
	// Of an external metric the adapter asks for no object.
	for group, of := range map[string][]adapter.DiscoveryRule{"pod": values.Custom, "": values.External} {
		for _, rule := range of {
			series, _, _ := strings.Cut(rule.SeriesQuery, "{")
			name := rule.Name.As
			if name == "" {
				name = series
			}
			serves[name] = true
			if _, err := promql.ParseMetricSelector(rule.SeriesQuery); err != nil {
				t.Errorf("%s: %v", rule.SeriesQuery, err)
			}
			fill := strings.NewReplacer("<<.Series>>", series, "<<.LabelMatchers>>", `namespace="shop"`, "<<.GroupBy>>", group)
			if _, err := promql.ParseExpr(fill.Replace(rule.MetricsQuery)); err != nil {
				t.Errorf("%s: %v", rule.MetricsQuery, err)
			}
			if group == "" && strings.Contains(rule.MetricsQuery, "GroupBy") {
				t.Errorf("%s: an external metric has nothing to group by", rule.MetricsQuery)
			}
			for label := range rule.Resources.Overrides {
				if !strings.Contains(rule.SeriesQuery, label+`!=""`) {
					t.Errorf("%s: a series without %s belongs to no object", rule.SeriesQuery, label)
				}
			}
		}
	}
	hpa := strictly[autoscaling.HorizontalPodAutoscaler](t, "hpa", read(t, filepath.Join("..", "kubernetes", "autoscaling", "hpa.yaml")))
	asked := map[string]bool{}
	for _, m := range hpa.Spec.Metrics {
		switch {
		case m.Pods != nil:
			asked[m.Pods.Metric.Name] = true
		case m.External != nil:
			asked[m.External.Metric.Name] = true
		}
	}
	if !maps.Equal(asked, serves) {
		t.Errorf("the autoscaler asks for %v, the adapter serves %v", asked, serves)
	}
}
