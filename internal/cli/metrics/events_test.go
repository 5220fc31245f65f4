package metrics

import (
	"bufio"
	"bytes"
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/kubectl-retina/kubectl-retina/internal/cli/kube"
	"github.com/kubectl-retina/kubectl-retina/internal/wire"
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

// What was suppressed is told as it comes, also after a new collector, which counts
// from 0 and may soon have more than the one before.
func TestSuppressedOfANewCollector(t *testing.T) {
	var printed bytes.Buffer
	o := &eventsOptions{
		options: &options{now: func() time.Time { return time.Unix(1_700_000_000, 0) }}, output: "json",
		out: bufio.NewWriter(&printed), suppressed: map[string]uint64{},
	}
	n1, n2 := &nodeState{name: "n1"}, &nodeState{name: "n2"}
	hear := func(n *nodeState, suppressed uint64) { o.print(n, &wire.Events{Suppressed: suppressed}) }
	o.begin("n1")
	o.begin("n2")
	hear(n1, 5)
	hear(n2, 2)
	hear(n1, 5)
	o.begin("n1")
	hear(n1, 9)
	hear(n2, 3)
	var got []uint64
	for line := range strings.Lines(printed.String()) {
		var e Event
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatal(err)
		}
		got = append(got, e.Suppressed)
	}
	if want := []uint64{5, 2, 9, 1}; !slices.Equal(got, want) {
		t.Errorf("suppressed are %v, want %v", got, want)
	}
}
