package follow

import (
	"slices"
	"strings"
	"testing"

	"github.com/kubectl-retina/kubectl-retina/internal/target"
)

func podNamed(name string) podItem {
	return podItem{pod: target.Pod{Namespace: "shop", Name: name, UID: "u-" + name}}
}

func TestLedger(t *testing.T) {
	type books = *ledger[podItem]
	hold := func(name, by string) func(books) { return func(l books) { l.hold(podNamed(name), by, false) } }
	change := func(name, by string) func(books) { return func(l books) { l.hold(podNamed(name), by, true) } }
	release := func(name, by string) func(books) { return func(l books) { l.release("u-"+name, by) } }
	tests := map[string]struct {
		do   []func(books)
		want string // of take
		left int    // entries
	}{
		"nothing":           {nil, "", 1},
		"added":             {[]func(books){hold("b", "x"), hold("a", "x")}, "+a +b", 3},
		"twice":             {[]func(books){hold("a", "x"), hold("a", "x"), hold("a", "y")}, "+a", 2},
		"and gone":          {[]func(books){hold("a", "x"), release("a", "x")}, "", 1},
		"still claimed":     {[]func(books){hold("a", "x"), hold("a", "y"), release("a", "x")}, "+a", 2},
		"ended":             {[]func(books){release("old", claimFirst)}, "-old", 0},
		"not its claim":     {[]func(books){release("old", "x")}, "", 1},
		"unknown":           {[]func(books){release("what", "x")}, "", 1},
		"ended and back":    {[]func(books){release("old", claimFirst), hold("old", "x")}, "", 1},
		"changed":           {[]func(books){change("old", "x")}, "~old", 1},
		"changed and ended": {[]func(books){change("old", "x"), release("old", "x"), release("old", claimFirst)}, "-old", 0},
		"changed while new": {[]func(books){hold("a", "x"), change("a", "x")}, "+a", 2},
		"passed on":         {[]func(books){hold("a", "x"), func(l books) { l.pass("u-a", "x") }}, "+a", 2},
		"not passed on":     {[]func(books){hold("a", "x"), release("a", "x"), func(l books) { l.pass("u-a", "x") }}, "", 1},
		"grace is over":     {[]func(books){hold("a", "x"), func(l books) { l.pass("u-a", "x"); l.releaseAll(claimGrace) }}, "", 1},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			l := newLedger[podItem]()
			l.seed(podNamed("old"))
			for _, do := range test.do {
				do(l)
			}
			if got := takeText(l); got != test.want {
				t.Errorf("took %q, want %q", got, test.want)
			}
			if got := takeText(l); got != "" {
				t.Errorf("took %q again", got)
			}
			if len(l.entries) != test.left {
				t.Errorf("%d entries left, want %d", len(l.entries), test.left)
			}
		})
	}
}

func takeText(l *ledger[podItem]) string {
	var words []string
	added, changed, ended := l.take()
	for _, list := range []struct {
		sign string
		pods []podItem
	}{{"+", added}, {"~", changed}, {"-", ended}} {
		for i := range list.pods {
			words = append(words, list.sign+list.pods[i].pod.Name)
		}
	}
	return strings.Join(words, " ")
}

// Whatever happens, what was told adds up to what is held.
func FuzzLedger(f *testing.F) {
	f.Add([]byte{0, 1, 2, 3, 200, 17, 64, 33})
	f.Fuzz(func(t *testing.T, steps []byte) {
		l := newLedger[podItem]()
		held := make(map[string][]string) // claims by name
		told := make(map[string]bool)
		take := func() {
			added, _, ended := l.take()
			for i := range added {
				if told[added[i].pod.Name] {
					t.Fatalf("%s was added twice", added[i].pod.Name)
				}
				told[added[i].pod.Name] = true
			}
			for i := range ended {
				if !told[ended[i].pod.Name] {
					t.Fatalf("%s has ended without a beginning", ended[i].pod.Name)
				}
				delete(told, ended[i].pod.Name)
			}
		}
		for _, step := range steps {
			name, by := string('a'+rune(step&3)), string('x'+rune(step>>2&1))
			switch step >> 3 & 3 {
			case 0, 1:
				l.hold(podNamed(name), by, step&64 != 0)
				if !slices.Contains(held[name], by) {
					held[name] = append(held[name], by)
				}
			case 2:
				l.release("u-"+name, by)
				held[name] = slices.DeleteFunc(held[name], func(c string) bool { return c == by })
			case 3:
				take()
			}
		}
		take()
		for _, name := range []string{"a", "b", "c", "d"} {
			if told[name] != (len(held[name]) > 0) {
				t.Errorf("%s: told %v, claims %v", name, told[name], held[name])
			}
		}
	})
}
