package top

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/kubectl-retina/kubectl-retina/internal/metrics"
)

func TestDrill(t *testing.T) {
	u := newUser(t, 160, 24).pass(2)
	u.has("> shop      web-7d9c5b8f6-aaaaa").keys("enter")
	u.has("pods > shop/web-7d9c5b8f6-aaaaa > [flows] drops dns", "svc shop/db", "ingress/gateway-x2v4t").hasNot("2001:db8::7")
	u.keys("enter")
	u.has("shop/web-7d9c5b8f6-aaaaa -> svc shop/db > flows [drops] dns", "no drops of shop/web-7d9c5b8f6-aaaaa -> svc shop/db: nothing was thrown away")
	u.keys("backspace").has("[flows]").keys("d").has("> flows [drops] dns", "NO_SOCKET").hasNot("NETFILTER_DROP")
	u.keys("s").has("db.shop.svc").keys("tab").has("[flows]").keys("shift+tab").has("[dns]")
	u.keys("esc").has("[pods] nodes flows drops dns", "> shop      web-7d9c5b8f6-aaaaa").keys("esc esc").has("[pods]")

	u.keys("n").pass(1).keys("enter").pass(1)
	u.has("nodes > node-1 > [pods] flows drops dns", "web-7d9c5b8f6-bbbbb").hasNot("db-0")
	u.keys("enter").has("nodes > shop/web-7d9c5b8f6-aaaaa > [flows]").keys("esc esc").pass(1)
	u.has("pods [nodes]").keys("enter d").has("node-1 > pods flows [drops] dns", "NO_SOCKET").hasNot("NETFILTER_DROP")
	u.keys("n").has("pods [nodes] flows drops dns")
}

// From a flow one sees its drops, with those whose sender is not known.
func TestDropsOfAFlow(t *testing.T) {
	u := newUser(t, 120, 24)
	u.world.change = func(r *metrics.Report) {
		db, web2 := r.Drops[0].Target, r.Drops[0].Source.Party
		r.Flows = append(r.Flows, metrics.Flow{Local: db, Remote: web2, Protocol: "TCP", Port: 5432, FlowValues: metrics.FlowValues{BytesOut: 1}})
		r.Drops = append(r.Drops, metrics.Drop{Target: db, Node: "node-2", Reason: "NOT_SPECIFIED_AT_ALL", Packets: 1})
	}
	u.pass(1).keys("f / 'db-0' enter / enter")
	u.at.filter = ""
	u.refresh()
	i := -1
	for n, r := range u.rows {
		if r.cells[0].text == "shop/db-0" && strings.Contains(r.cells[2].text, "bbbbb") {
			i = n
		}
	}
	u.jump(i)
	u.keys("enter").has("NETFILTER_DROP", "NOT_SPECIFIED_AT_ALL").hasNot("NO_SOCKET")
	u.keys("enter").has("reason", "node-2").keys("esc").has("[drops]")
}

// The packets of a client that the server has dropped are the server's drops.
func TestDropsOfAClientsFlow(t *testing.T) {
	u := newUser(t, 120, 24)
	u.world.change = func(r *metrics.Report) {
		db, web2 := r.Drops[0].Target, r.Drops[0].Source.Party
		r.Flows = []metrics.Flow{{Local: web2, Remote: db, Protocol: "TCP", Port: 5432, Role: "client", FlowValues: metrics.FlowValues{BytesOut: 1}}}
	}
	u.pass(1).keys("f enter").has("NETFILTER_DROP").hasNot("NO_SOCKET")
}

func TestSort(t *testing.T) {
	u := newUser(t, 130, 24).pass(2)
	for _, test := range []struct{ keys, want string }{
		{"", "shop web-7d9c5b8f6-aaaaa, ingress gateway-x2v4t, shop db-0, shop web-7d9c5b8f6-bbbbb"}, // equal IN/s: by OUT/s
		{"r", "shop db-0, shop web-7d9c5b8f6-bbbbb, ingress gateway-x2v4t, shop web-7d9c5b8f6-aaaaa"},
		{">", "ingress gateway-x2v4t, shop db-0, shop web-7d9c5b8f6-aaaaa, shop web-7d9c5b8f6-bbbbb"},
		{"2", "shop db-0, ingress gateway-x2v4t, shop web-7d9c5b8f6-aaaaa, shop web-7d9c5b8f6-bbbbb"},
		{"r", "shop web-7d9c5b8f6-bbbbb, shop web-7d9c5b8f6-aaaaa, ingress gateway-x2v4t, shop db-0"},
		{"<", "ingress gateway-x2v4t, shop db-0, shop web-7d9c5b8f6-aaaaa, shop web-7d9c5b8f6-bbbbb"},
		{"<", "shop web-7d9c5b8f6-aaaaa, ingress gateway-x2v4t, shop db-0, shop web-7d9c5b8f6-bbbbb"}, // around: the last minute
	} {
		if got := u.keys(test.keys).firstCells(2); got != test.want {
			t.Errorf("after %q: %s, want %s", test.keys, got, test.want)
		}
	}
	u.has("LAST MINUTE▼")
	// What is not known is last, whichever way.
	for range u.table().columns {
		u.keys(">")
		if u.table().columns[u.orders[Pods].column].title == "RTT P99" {
			break
		}
	}
	u.has("RTT P99▼")
	for range 2 {
		if got := u.firstCells(2); !strings.HasSuffix(got, "shop web-7d9c5b8f6-bbbbb") {
			t.Errorf("a row without RTT is not the last: %s", got)
		}
		u.keys("r")
	}
}

// Every column can be sorted by, and is then on the screen.
func TestSortByAColumnWithoutRoom(t *testing.T) {
	for _, view := range Views() {
		u := newUser(t, 60, 20, func(o *Options) { o.View = View(view) }).pass(2)
		for range u.table().columns {
			u.keys(">").has(u.table().columns[u.orders[View(view)].column].title)
			fits(t, u)
		}
	}
}

func TestFilter(t *testing.T) {
	u := newUser(t, 130, 24).pass(2).keys("/ 'WeB'")
	if got, want := u.firstCells(2), "shop web-7d9c5b8f6-aaaaa, shop web-7d9c5b8f6-bbbbb"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	u.keys("'q'").has(`none of 4 pods contains "WeBq"`, "filter: WeBq_") // q is a letter here
	u.keys("backspace").has("2 of 4").keys("enter").hasNot("filter: ").has(`2 of 4 with "WeB"`)
	u.keys("enter").has("[flows]").keys("esc").has("[pods]", `2 of 4 with "WeB"`) // the filter is back
	u.keys("esc").has("4 pods").keys("/ 'node-2' esc").has("4 pods")
	u.keys("/ '1.2M'").has("1 of 4").keys("ctrl+u").has("4 pods")
	u.press(key{name: "paste", typed: "ga\x1b[2Jte\n"})
	u.has("ga[2Jte")
}

func TestSelection(t *testing.T) {
	u := newUser(t, 130, 24).pass(2)
	u.keys("down").has("> ingress").keys("r").has("> ingress")                              // follows its row
	u.keys("home").has("> shop      db-0").keys("r").has("> shop      web-7d9c5b8f6-aaaaa") // stays at the top
	u.keys("end").has("> shop      web-7d9c5b8f6-bbbbb").keys("down").has("> shop      web-7d9c5b8f6-bbbbb")
	u.world.change = func(r *metrics.Report) { r.Rows = r.Rows[:3] }
	u.pass(1).has("> shop      db-0") // its neighbour
	u.world.change = func(r *metrics.Report) { r.Rows = nil }
	u.pass(1).keys("down up enter i pgup").has("no pods")
}

func TestScrolling(t *testing.T) {
	u := newUser(t, 80, 13)
	u.world.change = func(r *metrics.Report) {
		r.Rows = nil
		for i := range 50 {
			r.Rows = append(r.Rows, metrics.Row{Party: pod("shop", fmt.Sprintf("web-%02d", i), "node-1", "10.0.0.1")})
		}
	}
	u.pass(2)
	if u.bodyLines() != 9 {
		t.Fatalf("%d rows on a screen of 13", u.bodyLines())
	}
	for _, test := range []struct {
		keys                  string
		first, last, selected int
	}{
		{"", 0, 8, 0}, {"pgdown", 0, 8, 8}, {"j", 1, 9, 9}, {"pgdown pgdown", 17, 25, 25}, {"k k", 17, 25, 23},
		{"end", 41, 49, 49}, {"pgup", 41, 49, 41}, {"up", 40, 48, 40}, {"g", 0, 8, 0}, {"G", 41, 49, 49},
	} {
		u.keys(test.keys).has(fmt.Sprintf("web-%02d", test.first), fmt.Sprintf("web-%02d", test.last), fmt.Sprintf("> shop      web-%02d", test.selected))
		u.hasNot(fmt.Sprintf("web-%02d", test.first-1), fmt.Sprintf("web-%02d", test.last+1))
	}
	u.resize(80, 30)
	u.has("> shop      web-49", "web-24")
}

func TestPause(t *testing.T) {
	u := newUser(t, 100, 24).pass(2).keys("space")
	before := u.lines()
	u.pass(5)
	after := u.lines()
	if !strings.Contains(after[0], "PAUSED 5s") {
		t.Errorf("title: %s", after[0])
	}
	if a, b := strings.Join(before[1:], "\n"), strings.Join(after[1:], "\n"); a != b {
		t.Errorf("the screen did not stand still:\n%s\nthen:\n%s", a, b)
	}
	u.keys("enter").has("[flows]", "svc shop/db").keys("esc r").has("IN/s▲").keys("r")
	u.keys("n").has("paused before there were numbers of nodes: space goes on").keys("p")
	u.keys("space").hasNot("PAUSED").has("00:00:17", "██\n") // data went on: 7 s are 2 bars
}

func TestOverlays(t *testing.T) {
	u := newUser(t, 80, 12).pass(2).keys("?").has("KEYS").hasNot("COLUMNS OF")
	u.keys("end").has("LAST MINUTE", "not measured").keys("home").has("KEYS").keys("! esc").has("NAMESPACE")
	u.resize(80, 40)
	u.keys("i").has("workload            Deployment/web", "IN/s                1.2M", "round trip          half below")
	u.pass(1)
	u.world.change = func(r *metrics.Report) { r.Rows = r.Rows[:1] }
	u.pass(1).has("This is no longer there. It was:", "Deployment/web").keys("i").has("NAMESPACE")
}

func TestActions(t *testing.T) {
	u := newUser(t, 80, 12)
	for name, want := range map[string]action{"q": quit, "ctrl+c": quit, "ctrl+z": suspend, "ctrl+l": redraw, "x": stay} {
		if got := u.press(key{name: name}); got != want {
			t.Errorf("%s: %d, want %d", name, got, want)
		}
	}
	if u.keys("/").press(key{name: "ctrl+c"}) != quit {
		t.Error("ctrl+c does not quit while the filter is typed")
	}
}

// The help tells every key of a view.
func TestHelpNamesTheViewsKeys(t *testing.T) {
	for _, view := range Views() {
		u := newUser(t, 200, 60).pass(1).keys("p " + letter(View(view))).has("[" + view + "]").keys("?")
		u.has(" " + letter(View(view)) + " ")
		for i := range u.table().columns {
			u.has("  " + u.table().columns[i].title)
		}
	}
}

// Names are somebody else's: none may write to the terminal.
func TestHostileNames(t *testing.T) {
	const bad = "x\x1b]0;owned\x07\x1b[2J\u202e\r\nnext\u009b"
	u := newUser(t, 120, 24, func(o *Options) { o.Title = bad })
	u.world.change = func(r *metrics.Report) {
		p := metrics.Party{Kind: metrics.KindPod, Namespace: bad, Name: bad, Node: "漢字漢字漢字漢字漢字", Workload: bad, Service: bad, Policies: []string{bad}}
		r.Rows = []metrics.Row{{Party: p}}
		r.Flows = []metrics.Flow{{Local: p, Remote: p, Protocol: bad}}
		r.Drops = []metrics.Drop{{Target: p, Node: bad, Reason: bad, Hint: bad, Function: bad, Source: &metrics.Side{Party: p}}}
		r.DNS = []metrics.DNS{{Target: p, Server: metrics.Side{Party: p}, Name: bad, Type: bad, Codes: map[string]uint64{bad: 1}}}
		r.Lost = []metrics.Lost{{Node: bad, Plugin: bad, What: bad, Count: 1}}
		r.Skipped = []metrics.Skipped{{Target: bad, Reason: bad}}
	}
	u.pass(2)
	for _, keys := range []string{"", "n", "p i", "esc enter", "enter", "f i", "esc d", "i", "esc s", "i", "esc !", "! / 'x'"} {
		u.keys(keys)
		for _, columns := range []int{10, 33, 80, 81, 82, 83, 200} {
			u.resize(columns, 24)
			fits(t, u)
		}
	}
}

// The columns of each table and the cells of its rows belong together, and no two
// columns are dropped at the same time.
func TestTablesAreWhole(t *testing.T) {
	for _, view := range Views() {
		u := newUser(t, 300, 24, func(o *Options) { o.View = View(view) }).pass(1)
		table := u.table()
		if table.column(table.sortBy) < 0 || table.column(table.then) < 0 {
			t.Errorf("%s are sorted by %q and %q", view, table.sortBy, table.then)
		}
		ranks := map[int]string{}
		for _, c := range table.columns {
			if other := ranks[c.rank]; other != "" || c.rank == 0 || c.help == "" || c.width < width(c.title) {
				t.Errorf("%s: column %s: rank %d (as %q), width %d, help %q", view, c.title, c.rank, other, c.width, c.help)
			}
			ranks[c.rank] = c.title
		}
		for _, r := range u.rows {
			if len(r.cells) != len(table.columns) {
				t.Errorf("%s: %d cells for %d columns", view, len(r.cells), len(table.columns))
			}
			for i, c := range table.columns {
				if (r.cells[i].format == nil) != (c.kind == text) {
					t.Errorf("%s: %s is text in one place and a number in the other", view, c.title)
				}
			}
		}
	}
}

func TestGoneRowsAreForgotten(t *testing.T) {
	u := newUser(t, 80, 24).pass(3)
	u.world.change = func(r *metrics.Report) { r.Rows, r.DNS = r.Rows[:1], nil }
	u.pass(1)
	if f := u.shown(); len(f.tracks) != 1 || len(f.names) != 0 {
		t.Errorf("%d tracks and %d names for 1 row and none", len(f.tracks), len(f.names))
	}
}

func TestHeldQuantile(t *testing.T) {
	h := held{value: 3, at: began()}
	if v := h.get(began().Add(holdFor)); v != 3 {
		t.Errorf("%v", v)
	}
	if v := h.get(began().Add(holdFor + time.Second)); v == v {
		t.Errorf("%v, though it is too old", v)
	}
}
