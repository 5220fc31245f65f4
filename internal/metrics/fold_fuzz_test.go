package metrics

import (
	"encoding/json"
	"testing"
	"unicode"

	"github.com/kubectl-retina/kubectl-retina/internal/wire"
)

// Whatever a collector says, a fold stays within its bounds and prints nothing
// that moves a cursor.
func FuzzFold(f *testing.F) {
	seed, err := json.Marshal(sampleOf(3))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(seed, seed)
	f.Add([]byte(`{"more":true,"flows":[{"target":1,"ended":true,"flagsIn":[1,2,3,4,5,6,7,8,9,10,11,12]}]}`), []byte(`{}`))
	f.Add([]byte(`{"latency":[{"target":1,"rtt":{"sum":18446744073709551615,"buckets":[18446744073709551615,1]}}]}`), seed)
	f.Fuzz(func(t *testing.T, first, second []byte) {
		fold, _ := newTestFold(Options{FlowLimit: 4})
		before := fold.Report(ByPod)
		for _, text := range [][]byte{first, second, first} {
			var s wire.Sample
			if json.Unmarshal(text, &s) == nil {
				fold.Add("n1", &s)
			}
		}
		fold.Restart("n1")
		for _, by := range []By{ByPod, ByNode, ByFlow} {
			r := fold.Report(by)
			if len(r.Flows) > 4+wire.NumFlags || len(r.Drops) > 4 || len(r.DNS) > 4 || len(r.Lost) > maxLost+9 {
				t.Errorf("%d flows, %d drops, %d DNS, %d lost", len(r.Flows), len(r.Drops), len(r.DNS), len(r.Lost))
			}
			for _, d := range r.Drops {
				for _, c := range d.Reason + d.Hook + d.Function {
					if !unicode.IsPrint(c) {
						t.Errorf("drop %q", d.Reason+d.Hook+d.Function)
					}
				}
			}
			Diff(before, r)
			Compare(r, r)
		}
	})
}
