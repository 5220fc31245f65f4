//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"

	"github.com/kubectl-retina/kubectl-retina/internal/pcapfilter"
)

// filterCorpus are the expressions of the differential test.
const filterCorpus = "internal/pcapfilter/testdata/corpus.txt"

// measureFilter compares the programs of filters with libpcap's optimised ones.
// A sample holds an expression's program, so that the median is theirs.
func (b *bench) measureFilter(ctx context.Context) ([]row, error) {
	corpus, err := os.ReadFile(b.path(filterCorpus))
	if err != nil {
		return nil, err
	}
	var rows []row
	for _, link := range []struct {
		kind pcapfilter.LinkType
		name string // tcpdump's
	}{{pcapfilter.Ethernet, "EN10MB"}, {pcapfilter.Raw, "RAW"}} {
		r := row{What: "filter program, " + link.kind.String(), Unit: "instructions", Whose: "tcpdump", Target: ratioAtMost(1.1)}
		for expression := range strings.Lines(string(corpus)) {
			expression = strings.TrimSpace(expression)
			ours := compiledLength(expression, link.kind)
			if ours == 0 {
				continue
			}
			theirs, err := tcpdumpLength(ctx, expression, link.name)
			if err != nil {
				return rows, err
			}
			if theirs > 0 {
				r.Ours, r.Against = append(r.Ours, float64(ours)), append(r.Against, float64(theirs))
				r.Ratio = append(r.Ratio, float64(ours)/float64(theirs))
			}
		}
		r.What += fmt.Sprintf(" (%d expressions)", len(r.Ours))
		rows = append(rows, r)
	}
	return rows, nil
}

// compiledLength is 0 for what is no filter without names and a netmask.
func compiledLength(expression string, link pcapfilter.LinkType) int {
	filter, err := pcapfilter.Parse(expression)
	if err != nil || filter.Empty() || strings.HasPrefix(expression, "#") {
		return 0
	}
	program, err := filter.Compile(link, pcapfilter.Options{})
	if err != nil {
		return 0
	}
	return len(program)
}

// tcpdumpLength is 0 for what tcpdump refuses.
func tcpdumpLength(ctx context.Context, expression, link string) (int, error) {
	out, err := exec.CommandContext(ctx, "tcpdump", "-y", link, "-ddd", "--", expression).Output()
	if refused := (*exec.ExitError)(nil); errors.As(err, &refused) && ctx.Err() == nil {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("tcpdump %q: %w", expression, err)
	}
	program, err := pcapfilter.ParseDecimal(string(out))
	return len(program), err
}
