//go:build linux

package background

import (
	"bufio"
	"context"
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
	p, err := Start(exec.Command("sleep", "600"), os.DevNull)
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println("pid", p.PID())
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
	ended := make(chan struct{}, 10)
	var processes []*Process
	for range cap(ended) {
		p, err := Start(exec.Command("sleep", "600"), os.DevNull)
		if err != nil {
			t.Fatal(err)
		}
		processes = append(processes, p)
		go func() {
			<-p.ended
			ended <- struct{}{}
		}()
		var wait sync.WaitGroup
		for range 50 {
			wait.Go(runtime.LockOSThread)
		}
		wait.Wait()
	}
	select {
	case <-ended:
		t.Error("a process ended with a thread")
	case <-time.After(300 * time.Millisecond):
	}
	for _, p := range processes {
		if err := p.Stop(); err != nil {
			t.Error(err)
		}
	}
}

func TestStartReports(t *testing.T) {
	if _, err := Start(exec.Command("/does/not/exist"), os.DevNull); err == nil {
		t.Error("no error")
	}
	if _, err := Start(exec.Command("true"), filepath.Join(t.TempDir(), "none", "log")); err == nil {
		t.Error("no error without a log")
	}
}

// A server that cannot start says why, even when another answers in its place.
func TestAwaitTellsTheEnd(t *testing.T) {
	log := filepath.Join(t.TempDir(), "log")
	p, err := Start(exec.Command("sh", "-c", "echo address already in use >&2"), log)
	if err != nil {
		t.Fatal(err)
	}
	<-p.ended
	err = p.Await(t.Context(), func(context.Context) error { return nil })
	if err == nil || !strings.Contains(err.Error(), "address already in use") {
		t.Errorf("error %v", err)
	}
	if err := p.Stop(); err != nil {
		t.Error(err)
	}
}

func TestAwait(t *testing.T) {
	log := filepath.Join(t.TempDir(), "log")
	p, err := Start(exec.Command("sh", "-c", "echo ready; exec sleep 600"), log)
	if err != nil {
		t.Fatal(err)
	}
	wants := func(text string) func(context.Context) error {
		return func(context.Context) error {
			got, err := os.ReadFile(log)
			if err == nil && string(got) != text {
				err = fmt.Errorf("log is %q", got)
			}
			return err
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if err := p.Await(ctx, wants("ready\n")); err != nil {
		t.Error(err)
	}
	short, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if err := p.Await(short, wants("never")); err == nil || !strings.Contains(err.Error(), `log is "ready`) {
		t.Errorf("error %v", err)
	}
	for range 2 {
		if err := p.Stop(); err != nil {
			t.Error(err)
		}
	}
}
