// Causes writes the page of all causes from the list that the rules use:
//
//	go run ./internal/causes CAUSES.md
package main

import (
	"bytes"
	"fmt"
	"os"
	"strings"

	"github.com/loadline-go/loadline/observe/doctor"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: causes FILE")
		os.Exit(2)
	}
	if err := os.WriteFile(os.Args[1], page(), 0o644); err != nil {
		fmt.Fprintln(os.Stderr, "causes:", err)
		os.Exit(1)
	}
}

func page() []byte {
	var b bytes.Buffer
	b.WriteString(`<!-- Made from causes.go by go generate. -->
# What the doctor knows

Each cause with how it makes requests slow or fail, which figures prove it, what looks
like it, and what helps. What the doctor says to which figures stands row by row in
[testdata/table.txt](testdata/table.txt); the method is in the package's comment
(` + "`go doc github.com/loadline-go/loadline/observe/doctor`" + `).
`)
	for _, i := range doctor.Causes() {
		fmt.Fprintf(&b, "\n## %s: %s\n\n%s\n\n", i.Cause, i.Title, i.Mechanism)
		fmt.Fprintf(&b, "- **Proof.** %s\n- **Not to be taken for.** %s\n- **Remedy.** %s\n- **Next.** `%s`\n",
			i.Proof, i.Confounders, i.Remedy, strings.ReplaceAll(strings.ReplaceAll(i.Next, "%%", "%"), "%s", "SUBJECT"))
	}
	return b.Bytes()
}
