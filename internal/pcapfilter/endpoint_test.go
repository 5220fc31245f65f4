package pcapfilter_test

import (
	"testing"

	"github.com/kubectl-retina/kubectl-retina/internal/hint"
	"github.com/kubectl-retina/kubectl-retina/internal/pcapfilter"
)

func TestEndpoint(t *testing.T) {
	for _, tt := range []struct{ text, want string }{
		{"10.0.0.6:22", "(src host 10.0.0.6 and src port 22) or (dst host 10.0.0.6 and dst port 22)"},
		{"10.0.0.6", "host 10.0.0.6"},
		{" 10.0.0.6", "host 10.0.0.6"},
		{"443", "port 443"},
		{"*:443", "port 443"},
		{"10.0.0.6:*", "host 10.0.0.6"},
		{"10.0.0.0/8", "net 10.0.0.0/8"},
		{"10.0.0.0/8:53", "(src net 10.0.0.0/8 and src port 53) or (dst net 10.0.0.0/8 and dst port 53)"},
		{"[fd00::1]:80", "(src host fd00::1 and src port 80) or (dst host fd00::1 and dst port 80)"},
		{"[fd00::/64]:80", "(src net fd00::/64 and src port 80) or (dst net fd00::/64 and dst port 80)"},
		{"[fd00::1]", "host fd00::1"},
		{"[fd00::1]:*", "host fd00::1"},
		{"fd00::1", "host fd00::1"},
		{"fd00::/64", "net fd00::/64"},
		{"::ffff:10.0.0.6", "host 10.0.0.6"},
	} {
		filter, err := pcapfilter.Endpoint(tt.text)
		if err != nil || filter.String() != tt.want {
			t.Errorf("%q is %q, %v; want %q", tt.text, filter, err, tt.want)
		}
	}
}

func TestWrongEndpoints(t *testing.T) {
	for _, tt := range []struct{ text, want string }{
		{"", `"" is not an IP address`},
		{"web", `"web" is not an IP address`},
		{"10.0.0.6:http", `"10.0.0.6:http" has the port "http", which is no number from 0 to 65535`},
		{"70000", `"70000" has the port "70000", which is no number from 0 to 65535`},
		{"*:70000", `"*:70000" has the port "70000", which is no number from 0 to 65535`},
		{"10.0.0.6:", `"10.0.0.6:" has the port "", which is no number from 0 to 65535`},
		{":80", `":80" is not an IP address`},
		{"*:*", `"*:*" is every packet`},
		{"*", `"*" is not an IP address`},
		{"10.0.0.6/8", `"10.0.0.6/8" has bits set after its network part: the network is 10.0.0.0/8`},
		{"10.0.0/8", `"10.0.0/8" is not an IP address`},
		{"fd00::1:2:3:4:5:6:7:8:80", `"fd00::1:2:3:4:5:6:7:8:80" is not an address, nor an address in brackets and a port`},
		{"[fd00::1:80", `"[fd00::1:80" is not an address, nor an address in brackets and a port`},
		{"fe80::1%eth0", `"fe80::1%eth0" is not an address, nor an address in brackets and a port`},
		{"10.0.0.6 or tcp", `"10.0.0.6 or tcp" is not an IP address`},
	} {
		_, err := pcapfilter.Endpoint(tt.text)
		if err == nil || err.Error() != tt.want || hint.Of(err) == "" {
			t.Errorf("%q: error %v, want %s", tt.text, err, tt.want)
		}
	}
}

func TestDirectedAddresses(t *testing.T) {
	for _, tt := range []struct {
		make       func(string) (*pcapfilter.Filter, error)
		text, want string
	}{
		{pcapfilter.From, "10.0.0.6", "src host 10.0.0.6"},
		{pcapfilter.From, "fd00::/64", "src net fd00::/64"},
		{pcapfilter.To, "10.0.0.0/24", "dst net 10.0.0.0/24"},
		{pcapfilter.To, "10.0.0.6:80", ""},
		{pcapfilter.From, "web", ""},
	} {
		filter, err := tt.make(tt.text)
		if (err != nil) != (tt.want == "") || err == nil && filter.String() != tt.want {
			t.Errorf("%q is %q, %v; want %q", tt.text, filter, err, tt.want)
		}
	}
}

func FuzzEndpoint(f *testing.F) {
	for _, text := range []string{"10.0.0.6:22", "[fd00::/64]:80", "*:443", "53", "[]:1"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		filter, err := pcapfilter.Endpoint(text)
		if err != nil {
			return
		}
		if _, err := filter.Compile(pcapfilter.Ethernet, pcapfilter.Options{}); err != nil {
			t.Errorf("%q is accepted, and cannot be compiled: %v", text, err)
		}
	})
}
