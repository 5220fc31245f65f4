//go:build linux && !unit

package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"

	"github.com/kubectl-retina/kubectl-retina/e2e/internal/storage"
)

// Sizes of testBigCapture.
const (
	mib        = 1 << 20
	ringMemory = 64 * mib // of the collector's ring buffer, which its memory includes
	mostMemory = 160 * mib
)

// testBigCapture uploads a gigabyte from one node, with bounded memory.
func (s *shop) testBigCapture(t *testing.T) {
	size := int64(1024) // MB
	if room := roomHere(t); room < 8<<30 {
		size = 300
		t.Logf("%d MB instead of 1024: the disk of this machine has %d MB", size, room/mib)
	}
	container := azurite(t).Container(t, "big")
	p := start(t, "capture", "create", "--collector-namespace", collectorNamespace, "pod/web-n1", "-n", s.namespace, "--name", "big", "--duration", "4m",
		"--max-size", strconv.FormatInt(size, 10), "--insecure-blob", "--blob-upload", container.SAS(t, storage.SAS{Permissions: "cw"}), "-o", "json")
	p.waitFor(t, "capturing")
	began := time.Now()
	peak := watchMemory(t, "n1")
	fillStaging(t, s.web["n1"], size*mib)
	filled := time.Now()
	r := p.wait(t)
	r.wantCode(t, 0)
	t.Logf("captured in %.1fs, stored in %.1fs", filled.Sub(began).Seconds(), time.Since(filled).Seconds())
	most := peak()
	t.Logf("keeper: at most %d MiB resident with its ring buffer of %d MiB, %d MiB of that its own; container: working set at most %d MiB",
		most.resident/mib, ringMemory/mib, most.own/mib, most.workingSet/mib)
	if most.resident-ringMemory > mostMemory || most.own == 0 || most.workingSet == 0 {
		t.Errorf("memory %+v", most)
	}
	sum := parseStored(t, r.stdout)
	objects := container.Objects(t)
	if len(objects) != 1 || len(sum.Archives) != 1 || objects[0].Size != sum.Archives[0].Bytes || objects[0].Size < size*mib*9/10 {
		t.Fatalf("blobs %+v: %s", objects, r)
	}
	file := container.Download(t, objects[0].Name)
	if got := fileSum(t, file); got != sum.Archives[0].SHA256 {
		t.Errorf("checksum %s, want %s", got, sum.Archives[0].SHA256)
	}
	a := openArchive(t, file)
	if a.record.Reason != "limit" || a.record.Lost != 0 || a.record.Files[0].Bytes > size*mib || a.record.Files[0].Bytes < size*mib-100_000 {
		t.Errorf("record %+v", a.record)
	}
}

// roomHere is how many bytes are free for files of tests.
func roomHere(t *testing.T) int64 {
	t.Helper()
	var s unix.Statfs_t
	if err := unix.Statfs(t.TempDir(), &s); err != nil {
		t.Fatal(err)
	}
	return int64(s.Bavail) * s.Bsize
}

// fillStaging sends noise to a pod until the largest packet file of its node has
// bytes, and never more at once than a ring buffer holds.
func fillStaging(t *testing.T, to *corev1.Pod, bytes int64) {
	t.Helper()
	const datagram = 1400 + 8 + 20 + 14 // on its interface
	for sent := int64(0); sent < bytes+bytes/50; {
		sendNoise(t, to, 32*mib/datagram)
		sent += 32 * mib
		eventually(t, time.Minute, func() error {
			// What is written is behind by a mebibyte.
			if staged := stagedBytes(t, to.Spec.NodeName); staged < min(sent, bytes)-2*mib {
				return fmt.Errorf("%d of %d bytes are staged", staged, sent)
			}
			return nil
		})
	}
}

// collectorProcs are the directories of /proc of the collector processes on a node.
func collectorProcs(t *testing.T, node string) []string {
	t.Helper()
	var all []string
	for i, procfs := range nodeProcs() {
		if the.Nodes[i].Name != node {
			continue
		}
		pids, err := collectorsIn(procfs)
		if err != nil {
			t.Fatal(err)
		}
		for _, pid := range pids {
			all = append(all, filepath.Join(procfs, pid))
		}
	}
	return all
}

// stagedBytes is the size of the largest packet file that is staged on a node.
func stagedBytes(t *testing.T, node string) (bytes int64) {
	t.Helper()
	for _, proc := range collectorProcs(t, node) {
		files, err := filepath.Glob(proc + "/root/staging/*/*.pcapng")
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			if info, err := os.Stat(file); err == nil {
				bytes = max(bytes, info.Size())
			}
		}
	}
	return bytes
}

// memory is what a collector takes, in bytes.
type memory struct {
	resident   int64 // VmHWM: with the ring buffer
	own        int64 // RssAnon
	workingSet int64 // of its container, as the kubelet counts it
}

// watchMemory looks at the collectors of a node until peak is called, which returns
// the most that one has taken.
func watchMemory(t *testing.T, node string) (peak func() memory) {
	t.Helper()
	var most memory
	done, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for {
			select {
			case <-done:
				return
			case <-time.After(100 * time.Millisecond):
			}
			for _, proc := range collectorProcs(t, node) {
				status, err := os.ReadFile(proc + "/status")
				if err != nil {
					continue // it has ended
				}
				most.resident = max(most.resident, field(string(status), "VmHWM:")<<10)
				most.own = max(most.own, field(string(status), "RssAnon:")<<10)
				most.workingSet = max(most.workingSet, workingSet(proc))
			}
		}
	}()
	return func() memory {
		close(done)
		<-ended
		return most
	}
}

// field returns the number behind a name, or 0.
func field(text, name string) int64 {
	for line := range strings.Lines(text) {
		if words := strings.Fields(line); len(words) > 1 && words[0] == name {
			n, _ := strconv.ParseInt(words[1], 10, 64)
			return n
		}
	}
	return 0
}

// workingSet is the memory of a process's control group less the file cache that
// the kernel can take back.
func workingSet(proc string) int64 {
	text, err := os.ReadFile(proc + "/cgroup")
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(text)) {
		words := strings.SplitN(strings.TrimSpace(line), ":", 3)
		for _, root := range []string{"/sys/fs/cgroup", "/sys/fs/cgroup/memory"} {
			if len(words) != 3 || words[1] != "" && words[1] != "memory" {
				continue
			}
			dir := filepath.Join(root, words[2])
			if current, err := os.ReadFile(dir + "/memory.current"); err == nil {
				stat, _ := os.ReadFile(dir + "/memory.stat")
				return number64(current) - field(string(stat), "inactive_file")
			}
			if usage, err := os.ReadFile(dir + "/memory.usage_in_bytes"); err == nil {
				stat, _ := os.ReadFile(dir + "/memory.stat")
				return number64(usage) - field(string(stat), "total_inactive_file")
			}
		}
	}
	return 0
}

func number64(b []byte) int64 {
	n, _ := strconv.ParseInt(strings.TrimSpace(string(b)), 10, 64)
	return n
}
