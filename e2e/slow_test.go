//go:build linux && !unit

package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// A slowReader takes what a capture writes to standard output as a slow disk,
// a VPN or a user at a pager would.
type slowReader struct {
	file  *os.File
	rate  int // bytes a second; 0: as fast as they come
	pause time.Duration
}

func (s *slowReader) Write(b []byte) (int, error) {
	time.Sleep(s.pause) // once
	s.pause = 0
	if s.rate > 0 {
		time.Sleep(time.Duration(len(b)) * time.Second / time.Duration(s.rate))
	}
	return s.file.Write(b)
}

// captureSlowly captures datagrams to standard output, which reader reads, and
// returns the result and the file.
func captureSlowly(t *testing.T, reader *slowReader, datagrams int) (result, string) {
	t.Helper()
	s := openShop(t, "")
	path := filepath.Join(t.TempDir(), "slow.pcapng")
	file, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	reader.file = file
	p := &process{Cmd: the.Command(t.Context(), the.program, "capture", "create", "pod/web-n1", "-n", s.namespace,
		"--collector-namespace", collectorNamespace, "--duration", "5s", "--max-size", "0", "--write", "-"), started: time.Now()}
	p.Stdout, p.Stderr = reader, &p.stderr
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	p.waitFor(t, "capturing")
	s.send(t, s.client["n2"], s.web["n1"].Status.PodIP, datagrams, "--size", "1400", "--rate", "8000")
	r := p.wait(t)
	wantNothingLeft(t)
	return r, path
}

func TestSlowReaderLosesNothing(t *testing.T) {
	r, file := captureSlowly(t, &slowReader{rate: 2 << 20}, 20_000)
	r.wantCode(t, 0)
	if got := countDatagrams(t, file); got != 20_000 {
		t.Errorf("%d datagrams, want 20,000: %s", got, r)
	}
	if r.took < 12*time.Second {
		t.Errorf("28 MB at 2 MB/s took %s: the reader was not slow", r.took)
	}
}

func TestPausedReaderLosesNothing(t *testing.T) {
	r, file := captureSlowly(t, &slowReader{pause: 30 * time.Second}, 30_000)
	r.wantCode(t, 0)
	if got := countDatagrams(t, file); got != 30_000 {
		t.Errorf("%d datagrams, want 30,000: %s", got, r)
	}
}

func countDatagrams(t testing.TB, file string) int {
	t.Helper()
	// The filter in the shell's own pipe: the list would be tens of megabytes.
	out, err := exec.Command("sh", "-c", "tshark -r \"$0\" -Y 'udp.dstport == 9090' -T fields -e frame.number 2>/dev/null | wc -l", file).Output()
	if err != nil {
		t.Fatal(err)
	}
	count := 0
	for _, digit := range out {
		if digit >= '0' && digit <= '9' {
			count = count*10 + int(digit-'0')
		}
	}
	return count
}

// TestTwoCapturesOfOneNode would feed each other without end if each took the
// other's stream for traffic of the node.
func TestTwoCapturesOfOneNode(t *testing.T) {
	s := openShop(t, "")
	first, file1 := startCapture(t, "node/n1", "--duration", "9s", "-o", "json")
	first.waitFor(t, "capturing")
	second, file2 := startCapture(t, "node/n1", "--duration", "5s", "-o", "json")
	second.waitFor(t, "capturing")
	s.send(t, s.client["n2"], s.web["n1"].Status.PodIP, 2000, "--size", "1000", "--rate", "2000")
	for i, p := range []*process{first, second} {
		r := p.wait(t)
		r.wantCode(t, 0)
		file := []string{file1, file2}[i]
		if got := countDatagrams(t, file); got < 2000 {
			t.Errorf("capture %d has %d datagrams, want 2,000 or more", i+1, got)
		}
		// 2,000 datagrams on two interfaces; the other's stream would be as
		// much again, and then again.
		if sum := parseSummary(t, r.stdout); sum.Bytes > 10<<20 {
			t.Errorf("capture %d has %d bytes: %s", i+1, sum.Bytes, r)
		}
	}
	wantNothingLeft(t)
}
