package prompt

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/kubectl-retina/kubectl-retina/internal/cli/exit"
)

func TestAnswers(t *testing.T) {
	for answer, yes := range map[string]bool{
		"y\n": true, "yes\n": true, " Yes \n": true, "y": true,
		"n\n": false, "\n": false, "": false, "yess\n": false, strings.Repeat(" ", maxAnswer) + "y\n": false,
	} {
		var out bytes.Buffer
		err := ask(strings.NewReader(answer), &out, "really?")
		if (err == nil) != yes || !strings.HasPrefix(out.String(), "really? [y/N] ") {
			t.Errorf("%q: %v after %q", answer, err, out.String())
		}
		if err != nil && exit.Code(err) != exit.Failed {
			t.Errorf("%q: exit code %d", answer, exit.Code(err))
		}
	}
}

func TestNobodyIsAskedWithoutATerminal(t *testing.T) {
	streams, in, _, stderr := genericiooptions.NewTestIOStreams()
	in.WriteString("y\n")
	refusal := exit.Usagef("needs --yes")
	if err := Confirm(streams, "really?", refusal); !errors.Is(err, refusal) || stderr.Len() > 0 {
		t.Errorf("%v, printed %q", err, stderr)
	}
}
