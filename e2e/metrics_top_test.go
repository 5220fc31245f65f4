//go:build linux && !unit

package e2e

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// Lines of the screen.
const (
	topTitle  = `retina top  pods in namespace \S+ +nodes 2/2  CLOCK`
	topFooter = `enter go in  esc back  / filter  < > sort  space pause  ! lost  \? help  q quit`
	podsTabs  = `\[pods\] nodes flows drops dns +4 pods`
	podCells  = ` +RATE +RATE +RATE +RATE +(TIME|-) +[▁▂▃▄▅▆▇█]+`
)

// openTop starts metrics top on a terminal, of a shop with traffic from client-n1 to
// web-n2, and with connections to a port where nobody listens.
func openTop(t *testing.T, env []string) (*shop, *terminal) {
	t.Helper()
	s := openShop(t, "")
	to := s.web["n2"].Status.PodIP
	s.background(t, s.client["n1"], "http-get", "--url", "http://"+to+":8080/", "--every", "50ms")
	s.background(t, s.client["n1"], "http-get", "--url", "http://"+to+":81/", "--every", "100ms")
	x := openTerminal(t, env, "metrics", "top", "-n", s.namespace, "--collector-namespace", collectorNamespace)
	x.await(t, 80, 24, topTitle, podsTabs, `  NAMESPACE +POD +IN/s▼ +OUT/s +DROP/s +RETR/s +RTT P99 +LAST MINUTE`,
		`> \S+ +web-n2`+podCells, `  \S+ +client-n1`+podCells, `  \S+ +(web-n1|client-n2)`+podCells, `  \S+ +(web-n1|client-n2)`+podCells, topFooter)
	return s, x
}

// TestTopOnATerminal goes through the whole view as a user does.
func TestTopOnATerminal(t *testing.T) {
	_, x := openTop(t, nil)
	if colored := x.screen(t, "-e"); !regexp.MustCompile("\x1b\\[([0-9]+;)*7m(\x1b\\[[0-9;]*m)*>").MatchString(colored) || !strings.Contains(colored, "\x1b[1m") || !strings.Contains(colored, "\x1b[36m") {
		t.Errorf("no line in reverse, nothing bold or no color: %q", colored)
	}
	idle := `  \S+ +(web-n1|client-n2)` + podCells

	x.keys(t, ">")
	x.await(t, 80, 24, topTitle, podsTabs, `  NAMESPACE +POD +IN/s +OUT/s▼ .*`, `> \S+ +client-n1`+podCells, `  \S+ +web-n2`+podCells, idle, idle, topFooter)
	x.keys(t, "r")
	x.await(t, 80, 24, topTitle, podsTabs, `  NAMESPACE +POD +IN/s +OUT/s▲ .*`, `>`+idle[1:], idle, `  \S+ +web-n2`+podCells, `  \S+ +client-n1`+podCells, topFooter)
	x.keys(t, "r", "<")
	x.has(t, "IN/s▼", "OUT/s ")

	x.keys(t, "/", "w")
	x.has(t, "filter: w_")
	x.keys(t, "e", "b")
	x.await(t, 80, 24, topTitle, `\[pods\] nodes flows drops dns +2 of 4 with "web"`, `  NAMESPACE .*`, `> \S+ +web-n2`+podCells, `  \S+ +web-n1`+podCells,
		`filter: web_   enter keeps it, esc clears it`)
	x.keys(t, "Enter")

	// Into the pod, its flow at the closed port, its drop, and back.
	x.keys(t, "Enter")
	x.has(t, "/web-n2 > [flows] drops dns", "LOCAL", "DIR", "REMOTE", "PROTO", "PORT")
	x.keys(t, "/", "8", "1", "Enter")
	x.await(t, 80, 24, topTitle, `pods > \S+/web-n2 > \[flows\] drops d.* 1 of \d+ with "81"`, `  LOCAL +DIR REMOTE +PROTO +PORT IN/s▼ .*`,
		`> \S+web-n2 +<- +\S+ient-n1 +TCP +81 +RATE +RATE +(TIME|-) +0`, topFooter)
	x.keys(t, "Enter")
	x.has(t, "flows [drops] dns", "> NO_SOCKET")
	x.keys(t, "Enter")
	x.has(t, "reason              NO_SOCKET", "direction           ingress", "network stack       pod", "node                n2")
	x.keys(t, "Escape")
	x.has(t, "[drops]", "> NO_SOCKET")
	x.keys(t, "Escape")
	x.has(t, "> [flows] drops")
	x.keys(t, "Escape") // its filter; two at once would be another key
	x.hasNot(t, `with "81"`)
	x.keys(t, "Escape")
	x.has(t, "[pods] nodes", `2 of 4 with "web"`)
	x.keys(t, "Escape")
	x.has(t, "4 pods")

	x.keys(t, "n")
	x.await(t, 80, 24, `retina top .*`, `pods \[nodes\] flows drops dns +2 nodes`, `  NODE .*`, `[> ] n[12] .*`, `[> ] n[12] .*`, topFooter)
	x.keys(t, "s")
	x.has(t, "drops [dns]", "no DNS queries since ")
	x.keys(t, "d")
	x.has(t, "[drops] dns", "NO_SOCKET")
	x.keys(t, "p", "?")
	x.has(t, "KEYS", "pause: the screen stands still", "q ctrl+c      quit")
	x.keys(t, "?")

	x.keys(t, "Space")
	x.has(t, "PAUSED")
	body := func() string {
		_, rest, _ := strings.Cut(x.screen(t), "\n")
		return rest
	}
	before := body()
	x.has(t, "PAUSED 3s")
	if after := body(); after != before {
		t.Errorf("it did not stand still: it was\n%sand is\n%s", before, after)
	}
	x.keys(t, "Space")
	eventually(t, 10*time.Second, func() error {
		if screen := x.screen(t); strings.Contains(screen, "PAUSED") || strings.Contains(screen, before) {
			return fmt.Errorf("it does not go on:\n%s", screen)
		}
		return nil
	})

	x.resize(t, 120, 40)
	wide := `[> ] \S+ +(web|client)-n[12] +n[12] +RATE +RATE +RATE +RATE +RATE +(TIME|-) +RATE +RATE +[▁▂▃▄▅▆▇█]+`
	x.await(t, 120, 40, topTitle, podsTabs, `  NAMESPACE +POD +NODE +IN/s▼ +OUT/s +PKTS/s +DROP/s +RETR/s +RTT P99 +CONN-FAIL +DNS-ERR +LAST MINUTE`, wide, wide, wide, wide,
		`p n f d s views  enter go in  / filter  <> sort  space pause  ! lost  \? help  q quit`)
	x.resize(t, 80, 24)
	x.has(t, "4 pods")
	x.keys(t, "q")
	x.ended(t, "0")
	wantNothingLeft(t)
}

// resize changes the size of the window.
func (x *terminal) resize(t testing.TB, columns, height int) {
	t.Helper()
	if out, err := x.tmux("resize-window", "-x", fmt.Sprint(columns), "-y", fmt.Sprint(height)); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
}

// TestTopWithoutColor has no attribute anywhere, and Ctrl-C ends it as q does.
func TestTopWithoutColor(t *testing.T) {
	_, x := openTop(t, []string{"NO_COLOR=1"})
	if screen := x.screen(t, "-e"); strings.Contains(screen, "\x1b[") {
		t.Errorf("there are attributes: %q", screen)
	}
	x.keys(t, "C-c")
	x.ended(t, "0")
	wantNothingLeft(t)
}

// TestTopWhoseTerminalCloses is what happens when a window is closed.
func TestTopWhoseTerminalCloses(t *testing.T) {
	_, x := openTop(t, nil)
	if out, err := x.tmux("kill-server"); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	wantNothingLeft(t)
}

// TestTopInAPipe prints lines that a program can read.
func TestTopInAPipe(t *testing.T) {
	s := openShop(t, "")
	s.background(t, s.client["n1"], "http-get", "--url", "http://"+s.web["n2"].Status.PodIP+":8080/", "--every", "50ms")
	columns := []string{"NAMESPACE", "POD", "NODE", "IN/s", "OUT/s", "PKTS/s", "DROP/s", "RETR/s", "RTT-P99", "CONN-FAIL", "DNS-ERR"}
	pods := []string{"client-n1", "client-n2", "web-n1", "web-n2"}
	top := []string{"metrics", "top", "-n", s.namespace, "--collector-namespace", collectorNamespace}

	t.Run("lines", func(t *testing.T) {
		p := start(t, top...)
		eventually(t, 30*time.Second, func() error {
			if strings.Count(p.stdout.String(), "\n") < 1+3*len(pods) {
				return fmt.Errorf("too few lines:\n%s", p.stdout.String())
			}
			return nil
		})
		r := interrupt(t, p)
		var times []string
		header := 0 // 1 in its line
		for i, line := range strings.Split(strings.TrimSuffix(r.stdout, "\n"), "\n") {
			cells := regexp.MustCompile("  +").Split(strings.TrimRight(line, " "), -1)
			if strings.HasPrefix(line, "# WAITING FOR node ") && header == 0 {
				continue // its first sample
			}
			if header++; header == 1 {
				if want := append([]string{"TIME"}, columns...); !slices.Equal(cells, want) {
					t.Errorf("header %q, want %q", cells, want)
				}
				continue
			}
			if len(cells) != len(columns)+1 || cells[1] != s.namespace || !slices.Contains(pods, cells[2]) || !regexp.MustCompile(`^\d\d:\d\d:\d\d$`).MatchString(cells[0]) {
				t.Errorf("line %d: %q", i+1, line)
			}
			times = append(times, cells[0])
		}
		if times = slices.Compact(times); len(times) < 3 {
			t.Errorf("lines of %v, want three intervals:\n%s", times, r.stdout)
		}
		if strings.Contains(r.stdout+r.stderr, "\x1b") {
			t.Errorf("escape sequences in a pipe: %s", r)
		}
		wantNothingLeft(t)
	})
	t.Run("once", func(t *testing.T) {
		r := retina(t, append(top, "--once", "-q")...)
		r.wantCode(t, 0)
		lines := strings.Split(strings.TrimSuffix(r.stdout, "\n"), "\n")
		if !slices.Equal(strings.Fields(lines[0]), columns) || len(lines) != 1+len(pods) {
			t.Errorf("%s", r)
		}
		for _, pod := range pods {
			if !regexp.MustCompile(`(?m)^` + s.namespace + ` +` + pod + ` +n[12] +[0-9]`).MatchString(r.stdout) {
				t.Errorf("no line of %s:\n%s", pod, r.stdout)
			}
		}
		if r.stderr != "" {
			t.Errorf("stderr in spite of -q:\n%s", r.stderr)
		}
		wantNothingLeft(t)
	})
}
