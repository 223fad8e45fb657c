package doctor

import (
	"go/ast"
	"go/parser"
	"go/token"
	"slices"
	"strconv"
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
