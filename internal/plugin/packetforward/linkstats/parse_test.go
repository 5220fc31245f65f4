//go:build linux

package linkstats

import (
	"encoding/binary"
	"testing"
)

// message builds what the kernel would send: attributes are pairs of a type and
// a number of 64-bit values that count up from 1.
func message(ifindex uint32, attributes ...[2]int) []byte {
	m := binary.NativeEndian.AppendUint32(make([]byte, 4), ifindex)
	m = binary.NativeEndian.AppendUint32(m, filter)
	for _, a := range attributes {
		m = binary.NativeEndian.AppendUint16(m, uint16(attributeLen+8*a[1]))
		m = binary.NativeEndian.AppendUint16(m, uint16(a[0]))
		for i := range a[1] {
			m = binary.NativeEndian.AppendUint64(m, uint64(i+1))
		}
	}
	return m
}

func TestParse(t *testing.T) {
	tests := []struct {
		name    string
		message []byte
		fields  int // that are not 0; 0: not understood
	}{
		{"this kernel", message(7, [2]int{attribute, NumStats}), NumStats},
		{"an older one", message(7, [2]int{attribute, 23}), 23},
		{"a newer one", message(7, [2]int{attribute, 30}), NumStats},
		{"after another attribute", message(7, [2]int{5, 2}, [2]int{attribute, NumStats}), NumStats},
		{"without it", message(7, [2]int{5, 2}), 0},
		{"cut", message(7, [2]int{attribute, NumStats})[:100], 0},
		{"header only", message(7), 0},
		{"empty", nil, 0},
		{"attribute of length 0", append(message(7), 0, 0, 1, 0), 0},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			ifindex, stats, ok := parse(test.message)
			if ok != (test.fields > 0) || ok && ifindex != 7 {
				t.Fatalf("ifindex %d, ok %v", ifindex, ok)
			}
			for i, value := range stats {
				want := uint64(0)
				if i < test.fields {
					want = uint64(i + 1)
				}
				if value != want {
					t.Errorf("field %d is %d, want %d", i, value, want)
				}
			}
		})
	}
}

func FuzzParse(f *testing.F) {
	f.Add(message(7, [2]int{5, 2}, [2]int{attribute, NumStats}))
	f.Fuzz(func(t *testing.T, message []byte) {
		if _, stats, ok := parse(message); !ok && stats != (Stats{}) {
			t.Error("numbers from a message that was not understood")
		}
	})
}
