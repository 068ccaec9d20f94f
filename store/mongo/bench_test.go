package mongo_test

import (
	"testing"

	"github.com/replicante-io/playbooks/store/storetest"
)

func BenchmarkCreate10000(b *testing.B) { storetest.BenchmarkCreate10000(b, backend) }
func BenchmarkCommit1024(b *testing.B)  { storetest.BenchmarkCommit1024(b, backend) }
func BenchmarkCommit1(b *testing.B)     { storetest.BenchmarkCommit1(b, backend) }
func BenchmarkClaim10000(b *testing.B)  { storetest.BenchmarkClaim10000(b, backend) }
