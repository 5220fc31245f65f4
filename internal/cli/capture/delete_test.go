package capture

import (
	"testing"

	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/kubectl-retina/kubectl-retina/internal/cli/collectors"
	"github.com/kubectl-retina/kubectl-retina/internal/cli/exit"
	"github.com/kubectl-retina/kubectl-retina/internal/cli/kube"
	"github.com/kubectl-retina/kubectl-retina/internal/hint"
	"github.com/kubectl-retina/kubectl-retina/internal/inventory"
)

func TestWhatIsLostByADeletionIsSaid(t *testing.T) {
	counted := func(state inventory.State, packets uint64, stores ...inventory.Store) inventory.Node {
		return inventory.Node{Status: state, Counts: &inventory.Counts{Packets: packets}, Stores: stores}
	}
	for want, c := range map[string]inventory.Capture{
		"capture/x deleted":                   {Status: inventory.Done},
		"capture/x deleted: it was capturing": {Status: inventory.Capturing, Mode: inventory.ModeStream},
		"capture/x deleted: it was capturing, and 1,207 packets that are stored nowhere are lost": {
			Status: inventory.Capturing, Nodes: []inventory.Node{counted(inventory.Capturing, 1200), counted(inventory.Uploading, 7), counted(inventory.Done, 9)},
		},
		"capture/x deleted: it was kept to be downloaded, and 5 packets that are stored nowhere are lost": {
			Status: inventory.Kept, Nodes: []inventory.Node{counted(inventory.Kept, 5), counted(inventory.Kept, 6, inventory.Store{Done: true})},
		},
		"capture/x deleted: it was running, and what is not stored is lost": {Status: inventory.Running, Nodes: []inventory.Node{{Status: inventory.Running}}},
	} {
		c.Name = "x"
		if got := deletedLine(&c); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

func TestSeveralAreNotDeletedUnasked(t *testing.T) {
	streams, _, _, _ := genericiooptions.NewTestIOStreams()
	o := &deleteOptions{existing: newExisting(kube.NewFlags(), streams)}
	two := []*inventory.Capture{{Name: "a"}, {Name: "b"}}
	if err := o.confirm(two); exit.Code(err) != exit.Usage || hint.Of(err) != "add --yes" {
		t.Errorf("two: %v (%s)", err, hint.Of(err))
	}
	if err := o.confirm(two[:1]); err != nil {
		t.Errorf("one: %v", err)
	}
	o.yes = true
	if err := o.confirm(two); err != nil {
		t.Errorf("two with --yes: %v", err)
	}
}

func TestMistakesOfCommandsAboutCaptures(t *testing.T) {
	streams, _, _, _ := genericiooptions.NewTestIOStreams()
	flags := kube.NewFlags()
	t.Setenv(collectors.ImageVariable, "")
	dir := t.TempDir()
	for name, test := range map[string]struct {
		args []string
		run  func([]string) error
	}{
		"no name": {nil, runOf(NewStop(flags, streams))}, "two": {[]string{"a", "b"}, runOf(NewLogs(flags, streams))},
		"a name that is none": {[]string{"A_b"}, runOf(NewDownload(flags, streams))},
		"all and one":         {[]string{"a", "--all"}, runOf(NewDelete(flags, streams))},
		"remote flags":        {[]string{"a", "--s3-bucket", "b"}, runOf(NewDelete(flags, streams))},
		"raw and write":       {[]string{"a", "--raw", "--write", "x"}, runOf(NewDownload(flags, streams))},
		"no directory":        {[]string{"a", "--dir", dir + "/missing"}, runOf(NewDownload(flags, streams))},
		"a time that is none": {[]string{"a", "--time", "yesterday"}, runOf(NewDownload(flags, streams))},
		"an absolute path":    {[]string{"a", "--host-path", "/etc"}, runOf(NewDownload(flags, streams))},
		"an image":            {[]string{"a", "--image", "A B"}, runOf(NewDownload(flags, streams))},
		"two destinations":    {[]string{"a", "--blob-url", "x", "--blob-url-file", "y"}, runOf(NewDownload(flags, streams))},
	} {
		if err := test.run(test.args); exit.Code(err) != exit.Usage {
			t.Errorf("%s: %v (code %d)", name, err, exit.Code(err))
		}
	}
}
