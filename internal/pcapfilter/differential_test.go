//go:build !unit

package pcapfilter_test

import (
	"math/rand/v2"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/kubectl-retina/kubectl-retina/internal/pcapfilter"
)

// corpus returns the expressions of the corpus.
func corpus(t testing.TB) []string {
	t.Helper()
	content, err := os.ReadFile("testdata/corpus.txt")
	if err != nil {
		t.Fatal(err)
	}
	exprs := []string{""}
	for line := range strings.Lines(string(content)) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
			exprs = append(exprs, line)
		}
	}
	return exprs
}

// stricter are the messages of expressions that tcpdump accepts and we refuse on
// purpose: doc.go gives the reasons.
var stricter = []string{`"protochain" needs a loop`, `is not in the bytes of a packet`, `unknown port "7000x"`, `unknown network "loopback"`, `unknown network "link-local"`}

// looser are the messages of expressions that tcpdump refuses and we accept: the first constant
// in a divisor or shift count counts as the whole of it there.
var looser = []string{"tcpdump: division by zero", "tcpdump: modulus by zero", "tcpdump: shift by more than 31 bits"}

// tally counts what a differential test has seen.
type tally struct {
	expressions, accepted, refused, packets, short, mismatches int
	stricter, looser, nobody                                   int
}

func (n *tally) log(t *testing.T, link pcapfilter.LinkType) {
	t.Logf("%s: %d expressions (%d accepted, %d refused by both, %d by us on purpose, %d by tcpdump's faults, %d that no packet passes and only one refuses), "+
		"%d packets decided, %d of them too short to tell, mismatches=%d",
		link, n.expressions, n.accepted, n.refused, n.stricter, n.looser, n.nobody, n.packets, n.short, n.mismatches)
}

func TestCorpusLikeTcpdump(t *testing.T) {
	exprs := corpus(t)
	if len(exprs) < 500 {
		t.Errorf("corpus of %d expressions, want at least 500", len(exprs))
	}
	for link := range links {
		t.Run(link.String(), func(t *testing.T) {
			verdicts := askTcpdump(t, link, exprs)
			n := compareAll(t, link, exprs, verdicts, true)
			n.log(t, link)
			compareLengths(t, link, exprs, verdicts)
		})
	}
}

func TestGeneratedLikeTcpdump(t *testing.T) {
	for link := range links {
		t.Run(link.String(), func(t *testing.T) {
			w := writer{rand.New(rand.NewPCG(7, uint64(link)))}
			var exprs []string
			for range 450 {
				exprs = append(exprs, w.expression(3))
			}
			for range 200 {
				exprs = append(exprs, w.soup())
			}
			n := compareAll(t, link, exprs, askTcpdump(t, link, exprs), false)
			n.log(t, link)
			if n.accepted < 150 {
				t.Errorf("only %d generated expressions are valid", n.accepted)
			}
		})
	}
}

// compareAll compares what is refused and what programs decide. exact: also in
// whether some packet can pass.
func compareAll(t *testing.T, link pcapfilter.LinkType, exprs []string, verdicts []verdict, exact bool) tally {
	c := craft{rand.New(rand.NewPCG(1, 2))}
	packets := c.packets(link == pcapfilter.Raw, 300)
	var n tally
	for i, v := range verdicts {
		n.expressions++
		ours, err := compile(exprs[i], link)
		switch {
		case v.err != "" && err != nil:
			n.refused++
		case err != nil && strings.Contains(err.Error(), "no packet can pass") && !exact:
			n.nobody++
			n.expectNone(t, exprs[i], v.optimized, packets)
		case err != nil && contains(stricter, err.Error()):
			n.stricter++
		case err != nil:
			t.Errorf("%s %q: tcpdump accepts it, we say %v", link, exprs[i], err)
		case v.rejectsAll() && !exact:
			n.nobody++
			n.expectNone(t, exprs[i], ours, packets)
		case contains(looser, v.err):
			n.looser++
		case v.err != "":
			t.Errorf("%s %q: we accept it, tcpdump says %s", link, exprs[i], v.err)
		default:
			n.accepted++
			aimed := slices.Concat(packets, c.aimed(packets, v.unoptimized, 150))
			c.compare(t, &n, link, exprs[i], ours, v, aimed)
		}
	}
	return n
}

func contains(all []string, text string) bool {
	return text != "" && slices.ContainsFunc(all, func(part string) bool { return strings.Contains(text, part) })
}

func compile(expr string, link pcapfilter.LinkType) (pcapfilter.Program, error) {
	f, err := pcapfilter.Parse(expr)
	if err != nil {
		return nil, err
	}
	return f.Compile(link, testOptions)
}

func (n *tally) expectNone(t *testing.T, expr string, p pcapfilter.Program, packets []packet) {
	for _, pkt := range packets {
		if p.Match(pkt.data, pkt.wireLen) {
			t.Errorf("%q accepts packet %x, although it is said that none passes", expr, pkt.data)
			return
		}
	}
}

// compare runs both programs.
func (c craft) compare(t *testing.T, n *tally, link pcapfilter.LinkType, expr string, ours pcapfilter.Program, v verdict, packets []packet) {
	before := n.mismatches
	for _, pkt := range packets {
		n.packets++
		theirs := v.optimized.Run(pkt.data, pkt.wireLen)
		switch {
		case ours.Run(pkt.data, pkt.wireLen) == theirs:
			continue
		case c.tooShort(ours, v, pkt):
			n.short++
			continue
		}
		if n.mismatches++; n.mismatches == before+1 {
			t.Errorf("%s %q: tcpdump says %d for packet of %d bytes %x\nours:\n%s\ntcpdump's:\n%s",
				link, expr, theirs, pkt.wireLen, pkt.data, ours, v.optimized)
		}
	}
}

// tooShort reports whether programs may differ on a packet because one of them
// reads beyond its end and the other has left that out. libpcap's program rejects
// the packet without the optimizer. So do we, or the rest of the packet does not
// matter: whatever it is, both accept.
func (c craft) tooShort(ours pcapfilter.Program, v verdict, p packet) bool {
	if v.unoptimized.Match(p.data, p.wireLen) {
		return false
	}
	accepted := ours.Match(p.data, p.wireLen)
	if !accepted {
		return true // libpcap's optimizer left it out
	}
	for range 16 {
		longer := concat(p.data, c.noise(400))
		if !ours.Match(longer, p.wireLen) || !v.optimized.Match(longer, p.wireLen) {
			return false
		}
	}
	return true
}

// aimed makes packets that have what a program looks for: it sets some of the
// places that are compared with a constant to that constant.
func (c craft) aimed(packets []packet, p pcapfilter.Program, n int) []packet {
	type target struct {
		at, size int
		value    uint32
	}
	var targets []target
	at, size := -1, 0
	for _, in := range p {
		switch {
		case in.Op&7 == 0 && in.Op&0xe0 == 0x20, in.Op&7 == 0 && in.Op&0xe0 == 0x40: // ld [k], ld [x + k]
			at, size = int(in.K), map[uint16]int{0x00: 4, 0x08: 2, 0x10: 1}[in.Op&0x18]
			if in.Op&0xe0 == 0x40 {
				at += 20 // X is an IPv4 header's length
			}
		case in.Op&7 == 5 && in.Op&0xf0 != 0 && in.Op&8 == 0 && at >= 0 && at < 200:
			targets = append(targets, target{at, size, in.K})
		}
	}
	var made []packet
	for range n {
		if len(targets) == 0 {
			return nil
		}
		from := pick(c, packets)
		p := packet{slices.Clone(from.data), from.wireLen}
		for _, target := range targets {
			if c.IntN(3) == 0 || target.at+target.size > len(p.data) {
				continue
			}
			value := target.value
			if c.IntN(8) == 0 {
				value += uint32(c.IntN(3)) - 1
			}
			for i := range target.size {
				p.data[target.at+i] = byte(value >> (8 * (target.size - 1 - i)))
			}
		}
		made = append(made, p)
	}
	return made
}

// compareLengths wants programs no longer than libpcap's optimized ones by more
// than half, and in the median by at most a tenth. With -v it prints the numbers.
func compareLengths(t *testing.T, link pcapfilter.LinkType, exprs []string, verdicts []verdict) {
	var ratios []float64
	var ours, theirs int
	for i, v := range verdicts {
		p, err := compile(exprs[i], link)
		if err != nil || v.err != "" {
			continue
		}
		ratio := float64(len(p)) / float64(len(v.optimized))
		ratios = append(ratios, ratio)
		ours, theirs = ours+len(p), theirs+len(v.optimized)
		if ratio > 1.5 {
			t.Errorf("%q: %d instructions, tcpdump's program has %d:\n%s\ntcpdump's:\n%s", exprs[i], len(p), len(v.optimized), p, v.optimized)
		}
	}
	slices.Sort(ratios)
	n := len(ratios)
	t.Logf("%s: %d programs, %d instructions (tcpdump: %d), ratio of lengths: median %.3f, p90 %.3f, p99 %.3f, maximum %.3f",
		link, n, ours, theirs, ratios[n/2], ratios[n*9/10], ratios[n*99/100], ratios[n-1])
	if ratios[n/2] > 1.1 {
		t.Errorf("median ratio of lengths is %.3f, want at most 1.1", ratios[n/2])
	}
}

// The listing for people is tcpdump's.
func TestListingLikeTcpdump(t *testing.T) {
	lines := 0
	for i, expr := range corpus(t) {
		if i%3 != 0 || hostWords.MatchString(expr) {
			continue
		}
		listing, err := exec.Command("tcpdump", "-y", "EN10MB", "-d", "--", expr).Output()
		if err != nil {
			continue // refused
		}
		p, refusal, err := compileWithTcpdump(pcapfilter.Ethernet, expr)
		if err != nil || refusal != "" {
			t.Fatalf("%q: %v %s", expr, err, refusal)
		}
		if p.String() != string(listing) && !strings.Contains(string(listing), "[type]") && !strings.Contains(string(listing), "[ifidx]") {
			t.Errorf("%q is listed as\n%s\nby tcpdump as\n%s", expr, p, listing)
		}
		lines += len(p)
	}
	if lines < 1000 {
		t.Errorf("only %d lines", lines)
	}
}
