package doctor

import (
	"cmp"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/kubectl-retina/kubectl-retina/internal/wire"
)

// Limits of what is in order.
const (
	// clockLimit is how far clocks may be apart: packets and events are put in
	// order by them.
	clockLimit = 500 * time.Millisecond
	// streamLimit is MB/s below which a busy pod is more than its stream.
	streamLimit = 5
	// leftAlone is how old a BPF program is that belongs to no run that is ending.
	leftAlone = 90 * time.Second
)

// An Image is how a node got the collector's image.
type Image int

// How a node gets an image.
const (
	ImageUnknown Image = iota // the kubelet's events cannot be read
	ImageThere                // nothing was pulled
	ImagePulled
)

// A Node is what was found on one node.
type Node struct {
	Name       string
	Hello      wire.Hello
	ReadyAfter time.Duration // until the collector answered
	Image      Image         // how the node got the image
	Examined   wire.Examined
	// Offset is the node's clock minus this machine's, Uncertainty how far it may be
	// off.
	Offset, Uncertainty time.Duration
	// StreamAsked is how long the stream was to be filled; 0: not at all.
	StreamAsked time.Duration
	// StreamBytes arrived in StreamTime; 0: too little to measure.
	StreamBytes uint64
	StreamTime  time.Duration
	// Cut is why the stream ended too early; nil: it did not.
	Cut error
}

// Checks judges the node.
func (n *Node) Checks() []Check {
	checks := []Check{n.collector(), n.kernel(), n.btf(), n.tcx()}
	for i := range n.Examined.Tried {
		checks = append(checks, plugin(&n.Examined.Tried[i]))
	}
	checks = append(checks, n.clock())
	if n.StreamAsked > 0 || n.Cut != nil {
		checks = append(checks, n.stream())
	}
	for i := range checks {
		checks[i].Node = n.Name
	}
	return checks
}

func (n *Node) collector() Check {
	image := ""
	switch n.Image {
	case ImageThere:
		image = "image already on the node, pulling was not tried; "
	case ImagePulled:
		image = "image pulled, "
	}
	detail := fmt.Sprintf("%sanswered after %s, %s, %d CPUs", image, seconds(n.ReadyAfter), n.Hello.Arch, n.Hello.CPUs)
	return measured(Check{Name: CheckCollector, Status: OK, Detail: detail}, n.ReadyAfter.Seconds(), "s")
}

func (n *Node) kernel() Check {
	c := Check{Name: CheckKernel, Status: OK, Detail: n.Hello.Kernel}
	major, minor, ok := version(n.Hello.Kernel)
	switch {
	case !ok:
		c.Status = Unknown
	case older(major, minor, 5, 8):
		c.Status, c.Hint = Fail, "collectors need Linux 5.8 or later"
	case n.Examined.Lockdown == "confidentiality":
		c.Status, c.Detail = Warn, c.Detail+", locked down (confidentiality)"
		c.Hint = "tracing may be refused; see the plugins below"
	}
	return c
}

// version reads "Linux 6.18.4-arch1".
func version(kernel string) (major, minor int, ok bool) {
	_, release, _ := strings.Cut(kernel, " ")
	first, rest, _ := strings.Cut(release, ".")
	second := rest[:len(rest)-len(strings.TrimLeft(rest, "0123456789"))]
	major, errMajor := strconv.Atoi(first)
	minor, errMinor := strconv.Atoi(second)
	return major, minor, errMajor == nil && errMinor == nil
}

func older(major, minor, thanMajor, thanMinor int) bool {
	return cmp.Or(cmp.Compare(major, thanMajor), cmp.Compare(minor, thanMinor)) < 0
}

func (n *Node) btf() Check {
	if n.Examined.BTF == "" {
		return Check{Name: CheckBTF, Status: OK, Detail: "the kernel's types are there"}
	}
	return Check{Name: CheckBTF, Status: Warn, Detail: n.Examined.BTF, Hint: "drop reasons and tracing need a kernel with CONFIG_DEBUG_INFO_BTF"}
}

func (n *Node) tcx() Check {
	if n.Examined.TCX == "" {
		return Check{Name: CheckTCX, Status: OK, Detail: "attached and detached"}
	}
	return Check{Name: CheckTCX, Status: Warn, Detail: "packet sockets are used instead: " + n.Examined.TCX,
		Hint: "TCX comes with Linux 6.6; a packet socket sees what a pod sends after traffic control"}
}

func plugin(t *wire.TriedPlugin) Check {
	took := time.Duration(t.Micros) * time.Microsecond
	c := Check{Name: PluginCheck + t.Plugin, Status: OK, Detail: "loaded, attached, read and detached in " + seconds(took), Hint: t.Hint}
	switch {
	case t.Cause != "":
		c.Status, c.Detail = Fail, t.Cause
	case len(t.Lacks) > 0:
		c.Status, c.Detail = Warn, "works, except: "+strings.Join(t.Lacks, "; ")
	case t.Hook != "":
		c.Detail = fmt.Sprintf("loaded, attached by %s, read and detached in %s", t.Hook, seconds(took))
	}
	return measured(c, took.Seconds(), "s")
}

func (n *Node) clock() Check {
	c := Check{Name: CheckClock, Status: OK, Detail: fmt.Sprintf("%s from this machine's, ± %s", signed(n.Offset), seconds(n.Uncertainty))}
	if n.Offset.Abs() > n.Uncertainty+clockLimit {
		c.Status = Warn
		c.Hint = "times of packets and events are off by as much; see that NTP works, on the node and here"
	}
	if n.Examined.Unsynchronised {
		c.Detail += "; its kernel says that nothing synchronises it"
	}
	return measured(c, n.Offset.Seconds(), "s")
}

func (n *Node) stream() Check {
	if n.Cut != nil {
		return Check{Name: CheckStream, Status: Fail, Detail: n.Cut.Error(), Hint: "something between this machine and the node cuts streams"}
	}
	if n.StreamTime <= 0 {
		// The first frame only starts the clock.
		return Check{Name: CheckStream, Status: Unknown, Hint: "give it more time: --stream-time 10s",
			Detail: fmt.Sprintf("less than %.1f MB arrived in %s", 2*wire.FillerBytes/1e6, seconds(n.StreamAsked))}
	}
	rate := float64(n.StreamBytes) / 1e6 / n.StreamTime.Seconds()
	c := Check{Name: CheckStream, Status: OK, Detail: fmt.Sprintf("%.0f MB/s, %.1f MB in %s", rate, float64(n.StreamBytes)/1e6, seconds(n.StreamTime))}
	if rate < streamLimit {
		c.Status = Warn
		c.Hint = "captures of busy targets will lose packets: use a filter, --packet-size, or let the nodes store (--blob-upload, --host-path)"
	}
	return measured(c, rate, "MB/s")
}

// seconds is d as short as it is clear.
func seconds(d time.Duration) string {
	switch {
	case d.Abs() < 10*time.Millisecond:
		return d.Round(10 * time.Microsecond).String()
	case d.Abs() < time.Second:
		return d.Round(time.Millisecond).String()
	}
	return d.Round(100 * time.Millisecond).String()
}

func signed(d time.Duration) string {
	if d >= 0 {
		return "+" + seconds(d)
	}
	return seconds(d)
}
