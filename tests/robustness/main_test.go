//go:build integration

package robustness_test

import (
	"os"
	"testing"

	"github.com/replicante-io/playbooks/internal/testenv"
)

func TestMain(m *testing.M) { os.Exit(testenv.Main(m)) }
