//go:build linux

package linuxutil

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

func TestParseSNMP(t *testing.T) {
	tests := []struct {
		name, text, want string
	}{
		{"two sections", "Ip: Forwarding InReceives\nIp: 2 17\nTcp: MaxConn CurrEstab\nTcp: -1 3\n", "Ip.Forwarding=2 Ip.InReceives=17 Tcp.CurrEstab=3"},
		{"without the last newline", "Udp: NoPorts\nUdp: 4", "Udp.NoPorts=4"},
		{"more names than values", "Udp: A B\nUdp: 1\n", "Udp.A=1"},
		{"more values than names", "Udp: A\nUdp: 1 2\n", "Udp.A=1"},
		{"not a pair", "Udp: A\nTcp: B\nTcp: 5\n", "Tcp.B=5"},
		{"no number", "Udp: A B\nUdp: x 18446744073709551615\n", "Udp.B=18446744073709551615"},
		{"too large", "Udp: A B\nUdp: 18446744073709551616 1\n", "Udp.B=1"},
		{"a name without values", "Udp: A\n", ""},
		{"no colon", "Udp A\nUdp 1\n", ""},
		{"empty", "", ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var got []string
			parseSNMP([]byte(test.text), func(section, name []byte, value uint64) {
				got = append(got, fmt.Sprintf("%s.%s=%d", section, name, value))
			})
			if got := strings.Join(got, " "); got != test.want {
				t.Errorf("%q, want %q", got, test.want)
			}
		})
	}
}

func TestParseSNMP6(t *testing.T) {
	var got []string
	parseSNMP6([]byte("Ip6InReceives   \t3\n\nIp6Bad x\nUdp6NoPorts 7"), func(name []byte, value uint64) {
		got = append(got, fmt.Sprintf("%s=%d", name, value))
	})
	if want := []string{"Ip6InReceives=3", "Udp6NoPorts=7"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestParseSockstat(t *testing.T) {
	var got []string
	parseSockstat([]byte("sockets: used 17\nTCP: inuse 1 orphan x mem 29 odd\nnonsense\n"), func(section, name []byte, value uint64) {
		got = append(got, fmt.Sprintf("%s_%s=%d", section, name, value))
	})
	if want := []string{"sockets_used=17", "TCP_inuse=1", "TCP_mem=29"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestParseConntrack(t *testing.T) {
	var got []string
	parseConntrack([]byte("entries  found drop\n00000003  0000000a ffffffff\n00000003  00000001 00000003 00000007\n"), func(name []byte, sum uint32) {
		got = append(got, fmt.Sprintf("%s=%d", name, sum))
	})
	if want := []string{"entries=6", "found=11", "drop=2"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

// Whatever a file has, parsing ends, and what is found has a name.
func FuzzParse(f *testing.F) {
	f.Add([]byte("Ip: Forwarding InReceives\nIp: 2 17\n"))
	f.Add([]byte("entries  found\n00000003  0000000a\n"))
	f.Add([]byte("sockets: used 17\nTCP: inuse 1 orphan 0\n"))
	f.Add([]byte("Ip6InReceives   \t3\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		named := func(name []byte) {
			if len(name) == 0 {
				t.Error("a number without a name")
			}
		}
		parseSNMP(text, func(_, name []byte, _ uint64) { named(name) })
		parseSNMP6(text, func(name []byte, _ uint64) { named(name) })
		parseSockstat(text, func(_, name []byte, _ uint64) { named(name) })
		parseConntrack(text, func(name []byte, _ uint32) { named(name) })
	})
}
