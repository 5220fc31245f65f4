package storage

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kubectl-retina/kubectl-retina/e2e/internal/lab"
)

// victimVariable tells this test program to be the test that is killed.
const victimVariable = "KUBECTL_RETINA_E2E_VICTIM"

func TestMain(m *testing.M) {
	if os.Getenv(victimVariable) != "" {
		beKilled()
	}
	os.Exit(m.Run())
}

// beKilled starts a process, prints its pid and waits.
func beKilled() {
	process, err := startBound(exec.Command("sleep", "600"), make(chan struct{}))
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println("pid", process.Pid)
	select {}
}

func TestServerEndsWithAKilledTest(t *testing.T) {
	victim := exec.Command(os.Args[0])
	victim.Env = append(os.Environ(), victimVariable+"=1")
	out, err := victim.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := victim.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimPrefix(strings.TrimSpace(line), "pid "))
	if err != nil {
		t.Fatalf("%q: %v", line, err)
	}
	server, err := lab.Inspect(pid)
	if err != nil {
		t.Fatal(err)
	}
	if err := victim.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = victim.Wait() // it was killed
	for deadline := time.Now().Add(10 * time.Second); server.Alive(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("process %d is alive", pid)
		}
	}
}

// TestServerOutlivesThreads ends threads as dialling in another namespace does: the
// kernel takes the end of the one that started a process for the end of its parent.
func TestServerOutlivesThreads(t *testing.T) {
	ended := make(chan struct{})
	var processes []*os.Process
	for range 10 {
		one := make(chan struct{})
		process, err := startBound(exec.Command("sleep", "600"), one)
		if err != nil {
			t.Fatal(err)
		}
		processes = append(processes, process)
		go func() {
			<-one
			ended <- struct{}{}
		}()
		var wait sync.WaitGroup
		for range 50 {
			wait.Go(runtime.LockOSThread)
		}
		wait.Wait()
	}
	left := len(processes)
	select {
	case <-ended:
		left--
		t.Error("a process ended with a thread")
	case <-time.After(300 * time.Millisecond):
	}
	for _, process := range processes {
		_ = process.Kill() // or it has ended
	}
	for range left {
		<-ended
	}
}

func TestStartBoundReports(t *testing.T) {
	if _, err := startBound(exec.Command("/does/not/exist"), make(chan struct{})); err == nil {
		t.Error("no error")
	}
}

func TestScratchIsRemoved(t *testing.T) {
	c := &lab.Cluster{State: t.TempDir()}
	used, err := newScratch(c, "used")
	if err != nil {
		t.Fatal(err)
	}
	left, young := filepath.Join(scratchRoot(c), "left"), filepath.Join(scratchRoot(c), "young")
	for _, dir := range []string{left, young} {
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	old := time.Now().Add(-time.Hour)
	for _, dir := range []string{left, used.path} {
		if err := os.Chtimes(dir, old, old); err != nil {
			t.Fatal(err)
		}
	}
	other, err := newScratch(c, "other")
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]bool{left: false, young: true, used.path: true, other.path: true} {
		if got := unix.Access(path, unix.F_OK) == nil; got != want {
			t.Errorf("%s is there: %t, want %t", path, got, want)
		}
	}
	for _, s := range []*scratch{used, other} {
		if err := s.remove(); err != nil {
			t.Error(err)
		}
		if unix.Access(s.path, unix.F_OK) == nil {
			t.Errorf("%s is left", s.path)
		}
	}
}
