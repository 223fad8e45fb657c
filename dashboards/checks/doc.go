// Package checks holds the tests of the generated files that want the packages
// of those who read them: Prometheus' parsers, Alertmanager's routes and
// inhibition, the types of Kubernetes and of the operators, kustomize, pint. It is
// a module of its own, so that none of them is anybody's dependency.
//
//	cd dashboards/checks && GOWORK=off go test -count=1 ./...
package checks
