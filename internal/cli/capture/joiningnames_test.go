package capture

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/kubectl-retina/kubectl-retina/internal/pcapng"
	"github.com/kubectl-retina/kubectl-retina/internal/target/follow"
)

// An address that another pod gets has that pod's name from then on, in what is printed
// and for the words of a filter.
func TestAddressThatChangesHands(t *testing.T) {
	addr := netip.MustParseAddr("10.0.0.1")
	at := readTime().UnixNano()
	b := nodeFile("old", "10.0.0.1", 0)
	b = pcapng.AppendNames(b, []pcapng.Name{{Addr: addr, Name: "new.shop"}})
	b = pcapng.AppendEPB(b, 0, at+1e6, 45, 45, pcapng.FlagOutbound, readPacket())
	b = pcapng.AppendNames(b, []pcapng.Name{{Addr: addr, Name: "old.shop"}})
	b = pcapng.AppendEPB(b, 0, at+2e6, 45, 45, pcapng.FlagOutbound, readPacket())
	for filter, want := range map[string]string{"": "old new old", "pod shop/old": "old old", "pod new": "new", "not pod new": "old old"} {
		stdout, stderr, err := runRead(t, b, "--filter", filter)
		var names []string
		for line := range strings.Lines(stdout) {
			_, after, _ := strings.Cut(line, " IP shop/")
			name, _, _ := strings.Cut(after, ".7 >")
			names = append(names, name)
		}
		if got := strings.Join(names, " "); err != nil || stderr != "" || got != want {
			t.Errorf("--filter %q: printed %s, want %s: %v, stderr %q", filter, got, want, err, stderr)
		}
	}
}

// Only what the file does not have is put into it.
func TestNamesToldOnce(t *testing.T) {
	a, b := netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("10.0.0.2")
	known := knownNames([]pcapng.Name{{Addr: a, Name: "web-1.shop"}, {Addr: a, Name: "web-2.shop"}})
	for _, step := range []struct {
		told []follow.NamedAddress
		want []pcapng.Name
	}{
		{[]follow.NamedAddress{{Addr: a, Namespace: "shop", Pod: "web-1"}, {Addr: b, Namespace: "shop", Pod: "db-0"}}, []pcapng.Name{{Addr: b, Name: "db-0.shop"}}},
		{[]follow.NamedAddress{{Addr: b, Namespace: "shop", Pod: "db-0"}}, nil},
		{[]follow.NamedAddress{{Addr: a, Namespace: "shop", Pod: "db-0"}}, []pcapng.Name{{Addr: a, Name: "db-0.shop"}}},
		{[]follow.NamedAddress{{Addr: a, Namespace: "shop", Pod: "web-1"}}, []pcapng.Name{{Addr: a, Name: "web-1.shop"}}},
	} {
		if got := known.news(step.told); !slices.Equal(got, step.want) {
			t.Errorf("%v: %v, want %v", step.told, got, step.want)
		}
	}
}
