package observe

import (
	"context"
	"time"

	"go.opentelemetry.io/otel/trace"

	"github.com/loadline-go/loadline/internal/span"
)
