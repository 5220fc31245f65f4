package doctor

import (
	"fmt"
	"strings"
)

// maxNamed is how many leftovers a line names.
const maxNamed = 5

// Programs judges the BPF programs on the nodes. Nodes that share a kernel, as
// containers do, see each other's programs, but not each other's processes: a
// program is left over when no process of any of them has it open.
func Programs(nodes []*Node) []Check {
	type program struct {
		kernel string
		id     uint32
	}
	held := map[program]bool{}
	kernel := func(n *Node) string {
		if n.Examined.BootID == "" {
			return "of " + n.Name
		}
		return n.Examined.BootID
	}
	for _, n := range nodes {
		for _, p := range n.Examined.Programs {
			held[program{kernel(n), p.ID}] = held[program{kernel(n), p.ID}] || p.Held
		}
	}
	var checks []Check
	told := map[program]bool{} // a shared kernel's are told once
	for _, n := range nodes {
		var left []string
		running := 0
		for _, p := range n.Examined.Programs {
			key := program{kernel(n), p.ID}
			switch {
			case p.Held:
				running++
			case !held[key] && !told[key] && p.AgeSeconds >= int64(leftAlone.Seconds()):
				left = append(left, fmt.Sprintf("%s (%d)", p.Name, p.ID))
			}
			told[key] = true
		}
		checks = append(checks, n.programs(left, running))
	}
	return checks
}

func (n *Node) programs(left []string, running int) Check {
	c := Check{Name: CheckLeftovers, Node: n.Name, Status: OK, Detail: "no BPF program of a run that has ended"}
	switch {
	case n.Examined.ProgramsUnknown != "":
		c.Status, c.Detail = Unknown, n.Examined.ProgramsUnknown
	case len(left) > 0:
		more := ""
		if len(left) > maxNamed {
			left, more = left[:maxNamed], fmt.Sprintf(" and %d more", len(left)-maxNamed)
		}
		c.Status, c.Detail = Warn, "BPF programs that no process on the node holds: "+strings.Join(left, ", ")+more
		c.Hint = "another cluster's collectors on the same kernel look like this too; else see: bpftool prog show, bpftool link show, tc filter show"
	case running > 0:
		c.Detail = fmt.Sprintf("%s; %d of runs that go on", c.Detail, running)
	}
	return c
}
