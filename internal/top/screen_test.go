package top

import (
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/kubectl-retina/kubectl-retina/internal/metrics"
	"github.com/kubectl-retina/kubectl-retina/internal/wire"
)

// sgr are the escape sequences that a screen may have.
func withoutSGR(text string) string {
	return regexp.MustCompile("\x1b\\[[0-9;]*m").ReplaceAllString(text, "")
}

// fits fails unless the screen is as large as it should be, with nothing that
// moves the cursor.
func fits(t *testing.T, u *user) {
	t.Helper()
	plain := withoutSGR(u.render())
	lines := strings.Split(plain, "\n")
	if len(lines) != u.height {
		t.Errorf("%d lines on a screen of %d", len(lines), u.height)
	}
	for _, line := range lines {
		if width(line) > u.width {
			t.Errorf("%d columns on a screen of %d: %q", width(line), u.width, line)
		}
		if strings.ContainsFunc(line, func(r rune) bool { return r < ' ' || r == 0x7f || r >= 0x80 && r < 0xa0 }) {
			t.Errorf("control character in %q", line)
		}
	}
}

func TestGoldenScreens(t *testing.T) {
	trouble := func(r *metrics.Report) {
		r.Lost = []metrics.Lost{{Node: "node-1", Plugin: "packetparser", What: "flows: table full", Count: 1234}}
		r.Nodes[1].Unsupported = []wire.PluginError{{Plugin: "dns", Cause: "no BTF", Hint: "use a kernel with BTF", Partial: true}}
		r.Skipped = []metrics.Skipped{{Target: "pod shop/old", Reason: "not running"}}
	}
	for _, test := range []struct{ name, keys string }{
		{"pods", ""}, {"nodes", "n"}, {"flows", "f"}, {"drops", "d"}, {"dns", "s"},
		{"help", "?"}, {"problems", "!"}, {"drill", "down enter enter"}, {"details", "d enter"}, {"filter", "/ 'web'"},
	} {
		for _, s := range []struct{ columns, lines int }{{80, 24}, {120, 40}, {40, 10}} {
			for _, color := range []bool{false, true} {
				name := test.name + "-" + size(s.columns, s.lines)
				if color {
					name += "-color"
				}
				t.Run(name, func(t *testing.T) {
					u := newUser(t, s.columns, s.lines, func(o *Options) { o.Color = color })
					u.world.change = trouble
					u.pass(3).keys(test.keys).pass(2)
					fits(t, u)
					if !color && strings.Contains(u.render(), "\x1b") {
						t.Error("escape sequence without colour")
					}
					golden(t, name+".golden", u.render()+"\n")
				})
			}
		}
	}
}

// Colour says nothing that the text does not.
func TestColorIsOnlyColor(t *testing.T) {
	plain := newUser(t, 100, 20).pass(2)
	colored := newUser(t, 100, 20, func(o *Options) { o.Color = true }).pass(2)
	if !strings.Contains(colored.render(), "\x1b[7m") {
		t.Error("the selected row is not reverse")
	}
	trim := regexp.MustCompile(" +(\n|$)")
	if a, b := trim.ReplaceAllString(plain.render(), "\n"), trim.ReplaceAllString(withoutSGR(colored.render()), "\n"); a != b {
		t.Errorf("with colour:\n%s\nwithout:\n%s", b, a)
	}
}

func TestEverySizeFits(t *testing.T) {
	for _, keys := range []string{"", "n", "f", "d", "s", "?", "!", "enter enter", "d enter", "/ 'web'", "space"} {
		u := newUser(t, 80, 24).pass(2).keys(keys)
		for _, columns := range []int{1, 2, 3, 7, 20, 39, 61, 80, 133, 250} {
			for _, lines := range []int{1, 2, 3, 4, 5, 6, 7, 9, 50} {
				u.resize(columns, lines)
				fits(t, u)
			}
		}
	}
}

func TestResize(t *testing.T) {
	u := newUser(t, 80, 24).pass(2).has("IN/s").hasNot("DNS-ERR")
	u.resize(140, 24)
	u.has("DNS-ERR", "NODE", "web-7d9c5b8f6-aaaaa")
	u.resize(30, 8)
	u.has("POD").hasNot("RETR/s")
}

// What is lost is said on every screen, however small, in every view.
func TestLostIsNeverHidden(t *testing.T) {
	for _, keys := range []string{"", "f", "d", "?", "enter", "/ 'x'", "space"} {
		u := newUser(t, 80, 24)
		u.world.change = func(r *metrics.Report) {
			r.Lost = []metrics.Lost{{Node: "node-1", Plugin: "dns", What: "names: table full", Count: 77}}
			r.Nodes[0].Unsupported = []wire.PluginError{{Plugin: "dns", Cause: "no BTF"}}
		}
		u.pass(1).keys(keys)
		for _, lines := range []int{1, 2, 4, 6, 24} {
			u.resize(80, lines)
			u.has("LOST 77", "UNSUPPORTED 1")
		}
	}
	u := newUser(t, 80, 24).pass(1).hasNot("LOST", "UNSUPPORTED")
	u.keys("!").has("Nothing was lost")
}

func TestProblems(t *testing.T) {
	u := newUser(t, 80, 24)
	u.world.change = func(r *metrics.Report) {
		r.Lost = []metrics.Lost{{Node: "node-1", Plugin: "dns", What: "names: table full", Count: 77}}
		r.Nodes[0].Unsupported = []wire.PluginError{{Plugin: "dns", Cause: "no BTF", Hint: "upgrade"}}
		r.Nodes[1].Error = "collector was killed\x1b[2J"
	}
	u.pass(1).has("nodes 1/2", "FAILED NODES 1").keys("!")
	u.has("node node-1, dns: names: table full: 77", "node node-1, dns: no BTF; hint: upgrade", "node node-2: collector was killed[2J")
	u.keys("!").has("NAMESPACE")
}

func TestRates(t *testing.T) {
	u := newUser(t, 120, 20)
	if got := u.firstCells(5); !strings.Contains(got, "shop web-7d9c5b8f6-aaaaa node-1 - -") {
		t.Errorf("rates of one report: %s", got)
	}
	u.world.wait(2 * time.Second) // a late tick
	u.poll()
	if got := u.firstCells(5); !strings.HasPrefix(got, "shop web-7d9c5b8f6-aaaaa node-1 1.2M 50k, ingress gateway-x2v4t node-2 500k 500k") {
		t.Errorf("rates: %s", got)
	}
	u.poll() // at the same moment
	if got := u.firstCells(5); !strings.HasPrefix(got, "shop web-7d9c5b8f6-aaaaa node-1 1.2M 50k") {
		t.Errorf("rates when nothing was measured in between: %s", got)
	}
	u.world.wait(20 * time.Second)
	u.has("NO NUMBERS FOR 20s")
}

func TestNotMeasuredIsNotZero(t *testing.T) {
	u := newUser(t, 200, 20)
	u.world.change = func(r *metrics.Report) {
		r.Plugins = []string{"packetforward", "dns"}
		r.Nodes[1].Unsupported = []wire.PluginError{{Plugin: "dns", Cause: "no BTF"}}
		r.Flows = nil
	}
	u.pass(2)
	for _, r := range u.rows {
		cell := func(title string) string { return r.cells[u.table().column(title)].String() }
		if cell("DROP/s") != nothing || cell("RETR/s") != nothing || cell("CONN-FAIL") != nothing || cell("IN/s") == nothing {
			t.Errorf("%s: %s %s %s %s", r.key, cell("DROP/s"), cell("RETR/s"), cell("CONN-FAIL"), cell("IN/s"))
		}
		if unsupported := cell("NODE") == "node-2"; (cell("DNS-ERR") == nothing) != unsupported {
			t.Errorf("%s on %s: %s DNS errors", r.key, cell("NODE"), cell("DNS-ERR"))
		}
	}
	u.keys("f").has("flows are not measured: plugin packetparser was not asked for")
}

func TestWhyEmpty(t *testing.T) {
	empty := func(r *metrics.Report) { r.Rows, r.Flows, r.Drops, r.DNS = nil, nil, nil, nil }
	unable := func(nodes ...int) func(*metrics.Report) {
		return func(r *metrics.Report) {
			empty(r)
			for _, n := range nodes {
				r.Nodes[n].Unsupported = []wire.PluginError{{Plugin: "dropreason", Cause: "no BTF"}}
			}
		}
	}
	for _, test := range []struct {
		change func(*metrics.Report)
		keys   string
		want   string
	}{
		{empty, "", "no pods"},
		{empty, "n", "no nodes"},
		{empty, "f", "no traffic yet"},
		{empty, "d", "no drops: nothing was thrown away since 14:05:00"},
		{empty, "s", "no DNS queries since 14:05:00"},
		{nil, "/ 'nowhere'", `none of 4 pods contains "nowhere"`},
		{unable(0), "d", "no drops: nothing was thrown away since 14:05:00; 1 of 2 nodes cannot: ! says why"},
		{unable(0, 1), "d", "no node can tell drops; 2 of 2 nodes cannot: ! says why"},
		{func(r *metrics.Report) { empty(r); r.Nodes[0].Samples = 0 }, "f", "no traffic yet; waiting for 1 of 2 nodes"},
		{func(r *metrics.Report) { empty(r); r.Nodes[0].Samples, r.Nodes[1].Samples = 0, 0 }, "", waiting},
		{func(r *metrics.Report) { empty(r); r.Nodes[0].Error, r.Nodes[1].Error = "gone", "gone" }, "d", "no node can tell drops; 2 of 2 nodes cannot: ! says why"},
		{nil, "end enter enter", "no drops of shop/web-7d9c5b8f6-bbbbb"},
	} {
		u := newUser(t, 200, 20)
		u.world.change = test.change
		u.pass(1).keys(test.keys).pass(1)
		if test.keys == "end enter enter" { // no flows to go into: its drops are beside them
			u.keys("d")
		}
		u.has(test.want)
	}
}

func TestWaiting(t *testing.T) {
	w := newWorld()
	s := newScreen(Options{Source: w, Now: w.clock, Width: 80, Height: 24}.withDefaults())
	if !strings.Contains(s.render(), waiting) {
		t.Errorf("before the first report:\n%s", s.render())
	}
	for _, k := range []string{"down", "enter", "i", "end", "r", "3", "esc", "!", "?"} {
		s.press(key{name: k})
		s.render()
	}
}
