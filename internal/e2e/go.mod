module github.com/loadline-go/loadline/internal/e2e

go 1.26
