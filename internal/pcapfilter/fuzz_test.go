package pcapfilter_test

import (
	"errors"
	"math/rand/v2"
	"strings"
	"testing"

	"golang.org/x/net/bpf"

	"github.com/kubectl-retina/kubectl-retina/internal/pcapfilter"
)

func seed(f *testing.F) {
	w := writer{rand.New(rand.NewPCG(3, 4))}
	for range 100 {
		f.Add(w.expression(2))
		f.Add(w.soup())
	}
	for _, expr := range []string{"", "pod default/web-0 or ns kube-system", "src svc dns and not node \\host", "decnet host 1.2", `ether proto \stp`, "host foo", "portrange ftp-ssh", "net 10 or 172.16"} {
		f.Add(expr)
	}
}

// Parsing never panics, errors point into the expression, and the normal form
// means the same.
func FuzzParse(f *testing.F) {
	seed(f)
	f.Fuzz(func(t *testing.T, expr string) {
		if len(expr) > 400 {
			return
		}
		filter, err := pcapfilter.Parse(expr)
		if err != nil {
			var e *pcapfilter.Error
			if !errors.As(err, &e) {
				t.Fatalf("%q: error %v is no *Error", expr, err)
			}
			if e.Expr != expr || e.Offset < 0 || e.Length < 0 || e.Offset+e.Length > len(expr) {
				t.Fatalf("%q: error points to %d+%d of %q", expr, e.Offset, e.Length, e.Expr)
			}
			if strings.Contains(e.Error(), "\n") || strings.Count(e.Caret(), "\n") != 1 {
				t.Fatalf("%q: error %q, caret %q", expr, e.Error(), e.Caret())
			}
			return
		}
		normal := filter.String()
		again, err := pcapfilter.Parse(normal)
		if err != nil {
			t.Fatalf("%q: normal form %q: %v", expr, normal, err)
		}
		if again.String() != normal {
			t.Fatalf("%q: normal form %q has the normal form %q", expr, normal, again)
		}
		for _, link := range []pcapfilter.LinkType{pcapfilter.Ethernet, pcapfilter.Raw} {
			one, err1 := filter.Compile(link, fuzzOptions())
			other, err2 := again.Compile(link, fuzzOptions())
			if (err1 == nil) != (err2 == nil) || one.Decimal() != other.Decimal() {
				t.Fatalf("%q on %s: its normal form %q compiles otherwise", expr, link, normal)
			}
		}
	})
}

// Programs are what the kernel takes, and this package runs them like another
// implementation does.
func FuzzProgram(f *testing.F) {
	c := craft{rand.New(rand.NewPCG(5, 6))}
	w := writer{rand.New(rand.NewPCG(5, 6))}
	for _, p := range c.packets(false, 100) {
		f.Add(w.expression(2), p.data)
	}
	f.Fuzz(func(t *testing.T, expr string, packet []byte) {
		filter, err := pcapfilter.Parse(expr)
		if err != nil || len(expr) > 400 {
			return
		}
		for _, link := range []pcapfilter.LinkType{pcapfilter.Ethernet, pcapfilter.Raw} {
			program, err := filter.Compile(link, fuzzOptions())
			if err != nil {
				continue
			}
			instructions, ok := bpf.Disassemble(program)
			if !ok {
				t.Fatalf("%q on %s: not all instructions are known:\n%s", expr, link, program)
			}
			vm, err := bpf.NewVM(instructions)
			if err != nil {
				t.Fatalf("%q on %s: %v\n%s", expr, link, err, program)
			}
			n, err := vm.Run(packet)
			if err != nil {
				t.Fatalf("%q on %s: %v", expr, link, err)
			}
			if program.Match(packet, len(packet)) != (n != 0) && !shifts(program) {
				t.Fatalf("%q on %s: match is %t, the other VM returns %d for %x\n%s", expr, link, n == 0, n, packet, program)
			}
		}
	})
}

// shifts reports whether a program shifts by X.
func shifts(p pcapfilter.Program) bool {
	for _, in := range p {
		if in.Op == 0x6c || in.Op == 0x7c {
			return true
		}
	}
	return false
}
