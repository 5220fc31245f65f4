package capture

import (
	"bytes"
	"strings"
	"testing"
)

// Who has a capture stored is told that its targets are fixed, if they could change.
func TestFixedTargetsAreTold(t *testing.T) {
	for args, want := range map[string]bool{
		"deploy/web --host-path x": true, "-l app=web --no-wait": true, "pod/a deploy/web --host-path x": true, "--node-selectors a=b --no-wait": true,
		"deploy/web": false, "pod/a --host-path x": false, "node/n1 --no-wait": false, "deploy/web --host-path x --no-follow": false,
	} {
		o := options(t, strings.Fields(args)...)
		var told bytes.Buffer
		o.streams.ErrOut = &told
		c, err := o.complete()
		if err != nil {
			t.Fatal(err)
		}
		r := newRun(o, c)
		r.tellFixed()
		r.narrator.Close()
		if got := strings.Contains(told.String(), "come later are not captured"); got != want {
			t.Errorf("%s: told %t, %q", args, got, &told)
		}
	}
}
