package metrics

import (
	"slices"
	"testing"

	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/kubectl-retina/kubectl-retina/internal/cli/kube"
)

// Only plugins are started that have what is asked for.
func TestEventsChoosePlugins(t *testing.T) {
	for _, test := range []struct{ kinds, plugins, want []string }{
		{nil, nil, []string{"dns", "dropreason", "packetparser", "tcpretrans"}},
		{[]string{"drop"}, nil, []string{"dropreason"}},
		{[]string{"dns"}, nil, []string{"dns"}},
		{[]string{"retransmit"}, nil, []string{"tcpretrans"}},
		{[]string{"reset"}, nil, []string{"packetparser"}},
		{[]string{"connect", "reset", " DNS"}, nil, []string{"dns", "packetparser"}},
		{[]string{"dns"}, []string{"dropreason", "dns"}, []string{"dns", "dropreason"}},
		{nil, []string{"dns"}, []string{"dns"}},
	} {
		streams, _, _, _ := genericiooptions.NewTestIOStreams()
		o := &eventsOptions{options: newOptions(kube.NewFlags(), streams), kinds: test.kinds, rate: 1}
		o.plugins, o.entries = test.plugins, tableEntries
		if err := o.complete(nil); err != nil || !slices.Equal(o.plugins, test.want) {
			t.Errorf("%v of %v: plugins %v, error %v; want %v", test.kinds, test.plugins, o.plugins, err, test.want)
		}
	}
}
