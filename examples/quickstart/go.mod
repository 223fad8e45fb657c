module github.com/loadline-go/loadline/examples/quickstart

go 1.26.0

replace github.com/loadline-go/loadline => ../..

require (
	github.com/loadline-go/loadline v0.0.0
	modernc.org/sqlite v1.60.1
)
