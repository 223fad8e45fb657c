package doctor

import (
	"go/ast"
	"go/parser"
	"go/token"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// TestCausesAreComplete: every Cause that the package has stands in the list, with
// all that there is to say.
func TestCausesAreComplete(t *testing.T) {
	file, err := parser.ParseFile(token.NewFileSet(), "causes.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	var constants []Cause
	ast.Inspect(file, func(n ast.Node) bool {
		if spec, ok := n.(*ast.ValueSpec); ok {
			if name, ok := spec.Type.(*ast.Ident); ok && name.Name == "Cause" {
				v, err := strconv.Unquote(spec.Values[0].(*ast.BasicLit).Value)
				if err != nil {
					t.Fatal(err)
				}
				constants = append(constants, Cause(v))
			}
		}
		return true
	})
	if len(constants) < 30 {
		t.Fatalf("%d causes were found", len(constants))
	}
	for _, c := range constants {
		if !slices.ContainsFunc(Causes(), func(i Illness) bool { return i.Cause == c }) {
			t.Errorf("%s is not in the list", c)
		}
	}
	for _, i := range Causes() {
		if !slices.Contains(constants, i.Cause) {
			t.Errorf("%s has no constant", i.Cause)
		}
		for _, text := range []string{i.Title, i.Mechanism, i.Proof, i.Confounders, i.Remedy, i.Next} {
			if text == "" {
				t.Errorf("%s is incomplete: %+v", i.Cause, i)
			}
		}
	}
}

// The command to type next is one that a shell and curl understand, whatever
// the route is called.
func TestNextStepMayBeCopied(t *testing.T) {
	for _, route := range []string{"GET /orders/{id}", `GET /'; touch /tmp/x; '`, "GET /a b&trace=1#%2F+\n\"$(x)`x`[1-9]\u202e"} {
		for _, cause := range []Cause{SlowRoute, RouteFailing, PanicLoop} {
			d := &diagnosis{figures: &figures{}}
			d.add(Finding{Cause: cause, Subject: route})
			address, ok := strings.CutPrefix(d.findings[0].Next, "curl 'ADMIN/debug/traces?")
			query, ok2 := strings.CutSuffix(address, "'")
			if !ok || !ok2 || strings.ContainsAny(query, "' {}[]\"\n`$") {
				t.Errorf("%s: %s", cause, d.findings[0].Next)
			}
			if v, err := url.ParseQuery(query); err != nil || v.Get("route") != route || len(v) != 1 {
				t.Errorf("%s: asks for %v, %v", cause, v, err)
			}
		}
	}
}
