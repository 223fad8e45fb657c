package span

import (
	"testing"

	"github.com/loadline-go/loadline/leakcheck"
)

func TestMain(m *testing.M) { leakcheck.VerifyMain(m) }
