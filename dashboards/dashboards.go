// Package dashboards holds what is looked at and what calls for help: Grafana
// dashboards, Prometheus rules and a runbook for every alert, made to fit the
// metrics in observe.All().
//
// The files are in this folder, ready to be imported, provisioned or loaded:
//
//	grafana/*.json       import in Grafana, or point file provisioning at the folder
//	prometheus/*.yaml    add to rule_files in prometheus.yml
//	prometheus/slo/      the same, where Prometheus keeps the days of the objectives
//	runbooks/*.md        what to do when an alert fires
//	alertmanager/        routes and inhibitions that fit the alerts, an example
//	kubernetes/          kubectl apply -k: rules, scraping, pages; overlays and examples
//
// A program that provisions itself reads them from Files:
//
//	page, err := fs.ReadFile(dashboards.Files(), "grafana/loadline-service.json")
//
// # Other values
//
// The files are generated. A team with other thresholds, URLs or labels makes
// its own:
//
//	go run ./dashboards/generate -out ops -team shop -route-p99 300ms
//
// # What works with what
//
// The pages are classic JSON, for Grafana 10 to 13, with the data source as a
// variable. The rules need Prometheus 2.42 or later. Every question to a
// histogram works for classic buckets, native histograms and both.
package dashboards

import (
	"embed"
	"io/fs"
)

//go:generate go -C generate run . -out ..

//go:embed grafana prometheus runbooks alertmanager
var files embed.FS

// Files returns the generated files except the Kubernetes objects, by their
// path in this folder. They add less than a megabyte to a program that imports the
// package, and nothing to one that does not.
func Files() fs.FS { return files }
