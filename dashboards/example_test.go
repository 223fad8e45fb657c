package dashboards_test

import (
	"fmt"
	"io/fs"

	"github.com/loadline-go/loadline/dashboards"
)

func ExampleFiles() {
	pages, err := fs.Glob(dashboards.Files(), "grafana/loadline-service*.json")
	if err != nil {
		panic(err)
	}
	for _, page := range pages {
		fmt.Println(page)
	}
	// Output: grafana/loadline-service.json
}
