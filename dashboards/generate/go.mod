module github.com/loadline-go/loadline/dashboards/generate

go 1.26.0

require (
	github.com/grafana/grafana-foundation-sdk/go v0.0.18
	github.com/loadline-go/loadline v0.0.0
)

replace github.com/loadline-go/loadline => ../..
