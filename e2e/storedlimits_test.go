//go:build linux && !unit

package e2e

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/kubectl-retina/kubectl-retina/e2e/internal/storage"
)

// TestNodeDiskIsFull stores on a disk of a node that is too small, while the other
// node has room.
func TestNodeDiskIsFull(t *testing.T) {
	s := openShop(t, "")
	const base = "/var/log/retina-small"
	t.Cleanup(func() {
		for _, node := range []string{"n1", "n2"} {
			onNode(t, node, "rm", "-rf", base)
		}
	})
	storage.SmallDisk(t, the.Cluster, "n1", base, 4<<20)
	p := s.startStoring(t, "--host-path-base-dir", base, "--host-path", "sub", "--name", "small", "--duration", "60s", "--max-size", "6", "-o", "json")
	p.waitFor(t, "capturing")
	for _, node := range []string{"n1", "n2"} {
		sendNoise(t, s.web[node], 5000) // 7 MB
	}
	r := p.wait(t)
	r.wantCode(t, 3)
	wantSavedHere(t, p.dir, r, "n1", 1)
	for _, text := range []string{"error: node n1: not stored at host path " + base + "/sub: ", "no space left on device", "hint: free space there", "n2: stored sub/small-n2-"} {
		if !strings.Contains(r.stderr, text) {
			t.Errorf("%q is not in stderr:\n%s", text, r.stderr)
		}
	}
	if left := onNode(t, "n1", "ls", "-A", base+"/sub"); left != "" {
		t.Errorf("left on the full disk: %s", left)
	}
	files := fromNode(t, "n2", base+"/sub")
	if len(files) != 1 || !strings.Contains(files[0], "small-n2-") {
		t.Fatalf("files of n2: %q", files)
	}
	openArchive(t, files[0])
	wantNothingLeft(t)
}

// TestStagingIsFull ends the capture of a node early whose disk somebody else fills,
// to the last byte, and stores what there is.
func TestStagingIsFull(t *testing.T) {
	const datagrams = 2000 // 2.8 MB
	s := openShop(t, "")
	container := azurite(t).Container(t, "staging")
	undo := storage.SmallDisk(t, the.Cluster, "n1", "/var/lib/kubelet/pods", 8<<20)
	p := s.startStoring(t, join(blobFlags(container.SAS(t, storage.SAS{Permissions: "cw"})), []string{"--name", "full", "--duration", "90s", "--packet-count", strconv.Itoa(2 * datagrams), "-o", "json"})...)
	p.waitFor(t, "capturing")
	for _, node := range []string{"n1", "n2"} {
		sendNoise(t, s.web[node], datagrams)
	}
	onNode(t, "n1", "sh", "-c", "! dd if=/dev/zero of=/var/lib/kubelet/pods/others bs=4k status=none 2>&1 | grep -v 'No space left'")
	for _, node := range []string{"n1", "n2"} {
		sendNoise(t, s.web[node], datagrams)
	}
	r := p.wait(t)
	r.wantCode(t, 3)
	for _, text := range []string{"the capture ended early: the node's disk", "the archive lacks a part of the node's state after the capture: no space left on device"} {
		if !strings.Contains(r.stderr, "warning: node n1: "+text) {
			t.Errorf("%q is not in stderr", text)
		}
	}
	if parseStored(t, r.stdout).Complete || strings.Contains(r.stderr, "node n2: ") {
		t.Errorf("%s", r)
	}
	objects := container.Objects(t)
	if len(objects) != 2 {
		t.Fatalf("blobs %+v: %s", objects, r)
	}
	for i, reason := range []string{"disk", "limit"} {
		a := openArchive(t, container.Download(t, objects[i].Name))
		got := len(rows(t, a.packets()[0], "udp.dstport == 9090", "frame.number"))
		if a.record.Reason != reason || a.record.Lost != 0 || got < datagrams/3 || reason == "limit" && got < 2*datagrams-100 {
			t.Errorf("%s: %d datagrams, %+v", objects[i].Name, got, a.record)
		}
	}
	undo()
	wantNothingLeft(t)
}

// TestStoredLimits bounds captures in every way, of the same traffic.
func TestStoredLimits(t *testing.T) {
	s := openShop(t, "")
	hostPath, streamed := s.hostPath(t), filepath.Join(t.TempDir(), "redacted.pcapng")
	running := map[string]storing{}
	for name, args := range map[string][]string{
		"ring":     {"--file-count", "3", "--max-size", "1", "--packet-count", "6000"},
		"old":      {"--file-count", "3", "--max-size", "1", "--packet-count", "6000", "--format", "pcap"},
		"snapped":  {"--packet-size", "64", "--packet-count", "1000", "--include-metadata=false"},
		"redacted": {"--redact", "--packet-count", "1000"},
	} {
		running[name] = s.startStoring(t, join(args, []string{"--name", name, "--host-path", hostPath, "--duration", "90s", "-o", "json"})...)
	}
	stream, _ := startCapture(t, "-l", "app=web", "-n", s.namespace, "--write", streamed, "--redact", "--packet-count", "2000", "--duration", "90s")
	for _, p := range running {
		p.waitFor(t, "capturing")
	}
	stream.waitFor(t, "capturing")
	for _, node := range []string{"n1", "n2"} {
		s.get(t, s.client[node], s.web[node], "/payload/of/mine", 20)
		s.send(t, s.client[node], s.web[node].Status.PodIP, 6000, "--size", "1000", "--rate", "4000")
	}
	archives := map[string][]*openedArchive{}
	for name, p := range running {
		r := p.wait(t)
		r.wantCode(t, 0)
		for _, node := range []string{"n1", "n2"} {
			for _, file := range fromNode(t, node, "/var/log/retina/captures/"+hostPath) {
				if strings.HasPrefix(filepath.Base(file), name+"-") {
					archives[name] = append(archives[name], openArchive(t, file))
				}
			}
		}
		if len(archives[name]) != 2 {
			t.Fatalf("%d archives of %s: %s", len(archives[name]), name, r)
		}
	}
	stream.wait(t).wantCode(t, 0)
	for i := range 2 {
		t.Run("ring", func(t *testing.T) { wantRing(t, archives["ring"][i], "pcapng") })
		t.Run("ring of old files", func(t *testing.T) { wantRing(t, archives["old"][i], "pcap") })
		t.Run("snapped", func(t *testing.T) { wantSnapped(t, archives["snapped"][i]) })
		t.Run("redacted", func(t *testing.T) { wantRedacted(t, archives["redacted"][i]) })
	}
	t.Run("redacted stream", func(t *testing.T) {
		if got := wantHeadersOnly(t, streamed); got < 1500 {
			t.Errorf("%d datagrams", got)
		}
	})
	wantNothingLeft(t)
}

// wantRing checks that the youngest packets are in the files of a ring.
func wantRing(t *testing.T, a *openedArchive, format string) {
	t.Helper()
	r := a.record
	if n := len(r.Files); n < 2 || n > 3 || r.Packets+r.Overwritten != 6000 || r.Overwritten == 0 || r.Lost != 0 || r.Format != format {
		t.Fatalf("record %+v", r)
	}
	next := -1
	for i, f := range r.Files {
		if f.Bytes > 1<<20 || f.Bytes < 1<<18 && i < len(r.Files)-1 || !strings.HasSuffix(f.Name, "."+format) {
			t.Errorf("file %+v", f)
		}
		if kind := capinfos(t, a.file(f.Name)); !strings.Contains(kind, map[string]string{"pcap": "Wireshark/tcpdump/... - nanosecond pcap\n", "pcapng": "Wireshark/... - pcapng\n"}[format]) {
			t.Errorf("%s: %s", f.Name, kind)
		}
		for _, row := range rows(t, a.file(f.Name), "udp.dstport == 9090", "udp.payload") {
			seq := sequence(t, row[0])
			if next >= 0 && seq != next {
				t.Fatalf("%s: datagram %d where %d should be", f.Name, seq, next)
			}
			next = seq + 1
		}
	}
	// 20 requests have about 10 packets each, and there are those of neighbours.
	if next < 6000-20*12-100 {
		t.Errorf("the youngest datagram is %d", next-1)
	}
}

// sequence reads the number of a datagram of udp-send.
func sequence(t *testing.T, payload string) int {
	t.Helper()
	text, err := hex.DecodeString(payload[:2*len("seq=0000000000")])
	if err != nil {
		t.Fatal(err)
	}
	n, err := strconv.Atoi(strings.TrimPrefix(string(text), "seq="))
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func wantSnapped(t *testing.T, a *openedArchive) {
	t.Helper()
	if a.record.Packets != 1000 || a.record.SnapLen != 64 || a.record.Reason != "limit" {
		t.Errorf("record %+v", a.record)
	}
	if more := a.names[1:]; len(more) != 1 || more[0] != a.record.Files[0].Name {
		t.Errorf("more than packets without metadata: %q", more)
	}
	large := 0
	for _, row := range rows(t, a.packets()[0], "frame", "frame.cap_len", "frame.len") {
		captured, whole := number(t, row[0]), number(t, row[1])
		if captured > 64 || captured < min(64, whole) {
			t.Fatalf("%d bytes of a packet of %d", captured, whole)
		}
		if whole > 1000 {
			large++
		}
	}
	if large < 500 {
		t.Errorf("%d large packets", large)
	}
}

func wantRedacted(t *testing.T, a *openedArchive) {
	t.Helper()
	if a.record.Packets != 1000 || !a.record.HeadersOnly || !slices.Contains(a.names, "metadata/before/node/routes.txt") {
		t.Errorf("record %+v, entries %q", a.record, a.names)
	}
	if got := wantHeadersOnly(t, a.packets()[0]); got < 500 {
		t.Errorf("%d datagrams", got)
	}
	for _, name := range a.names {
		if strings.Contains(a.text(t, name), "payload/of/mine") || strings.Contains(a.text(t, name), "seq=00") {
			t.Errorf("payload in %s", name)
		}
	}
}

// wantHeadersOnly checks a file of the shop's traffic for payloads, and returns how
// many of its datagrams have whole headers.
func wantHeadersOnly(t *testing.T, file string) int {
	t.Helper()
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for _, payload := range []string{"payload/of/mine", "seq=0", "GET ", "HTTP/1", "........"} {
		if bytes.Contains(content, []byte(payload)) {
			t.Errorf("%q is in %s", payload, filepath.Base(file))
		}
	}
	if bad := rows(t, file, "_ws.malformed", "frame.number"); len(bad) > 0 {
		t.Errorf("malformed: %v", bad)
	}
	for _, row := range rows(t, file, "tcp.port == 8080", "tcp.flags", "tcp.seq_raw", "tcp.window_size_value", "frame.cap_len") {
		if slices.Contains(row, "") || number(t, row[3]) > 14+20+60 {
			t.Errorf("TCP header %q", row)
		}
	}
	if syn := rows(t, file, "tcp.flags.syn == 1 && tcp.flags.ack == 0 && tcp.options.mss_val", "tcp.options.mss_val"); len(syn) < 20 {
		t.Errorf("%d of 20 handshakes with their options", len(syn))
	}
	datagrams := rows(t, file, "udp.dstport == 9090 && ip", "ip.src", "ip.dst", "udp.length", "frame.cap_len", "frame.len")
	for _, row := range datagrams {
		if row[2] != "1008" || row[3] != "42" || row[4] != "1042" {
			t.Fatalf("datagram %q", row)
		}
	}
	return len(datagrams)
}

func number(t *testing.T, text string) int {
	t.Helper()
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// TestHostPathIsConfined keeps the youngest archives of ours, leaves what is others'
// alone, and does not follow a link out of the directory.
func TestHostPathIsConfined(t *testing.T) {
	s := openShop(t, "")
	hostPath, outside := s.hostPath(t), t.TempDir()
	dir := "/var/log/retina/captures/" + hostPath
	onNode(t, "n1", "mkdir", "-p", dir+"/subdirectory")
	onNode(t, "n1", "ln", "-s", outside, dir+"/link")
	foreign := []string{"notes.txt", "other.tar.gz", "web-n1-2020.tar.gz", ".web-n1-20200101T000000Z.tar.gz.partial"}
	for _, name := range foreign {
		onNode(t, "n1", "sh", "-c", "echo "+name+" > "+dir+"/"+name)
	}
	store := func(name, path string, more ...string) (string, result) {
		dir := t.TempDir()
		args := []string{"capture", "create", "--collector-namespace", collectorNamespace, "pod/web-n1", "-n", s.namespace, "--name", name, "--duration", "1s", "--host-path", path}
		return dir, startIn(t, dir, nil, append(args, more...)...).wait(t)
	}
	for i := range 4 {
		_, r := store(fmt.Sprintf("keep-%d", i), hostPath, "--host-path-keep", "2")
		r.wantCode(t, 0)
		time.Sleep(time.Until(time.Now().Truncate(time.Second).Add(time.Second))) // names have seconds
	}
	var ours []string
	left := strings.Fields(onNode(t, "n1", "ls", "-A", dir))
	for _, name := range left {
		if strings.HasPrefix(name, "keep-") {
			ours = append(ours, name)
		}
	}
	if len(ours) != 2 || !strings.HasPrefix(ours[0], "keep-2-n1-") || !strings.HasPrefix(ours[1], "keep-3-n1-") || len(left) != len(ours)+len(foreign)+2 {
		t.Errorf("left: %q", left)
	}
	for _, name := range foreign {
		if text := onNode(t, "n1", "cat", dir+"/"+name); text != name+"\n" {
			t.Errorf("%s has become %q", name, text)
		}
	}
	here, r := store("escape", hostPath+"/link", "-o", "json")
	r.wantCode(t, 3)
	if !strings.Contains(r.stderr, "error: node n1: not stored at host path "+dir+"/link: ") || !strings.Contains(r.stderr, "escapes") {
		t.Errorf("%s", r)
	}
	if entries, err := os.ReadDir(outside); err != nil || len(entries) != 0 {
		t.Errorf("outside: %v, %v", entries, err)
	}
	saved, err := filepath.Glob(filepath.Join(here, "escape-n1-*.tar.gz"))
	if err != nil || len(saved) != 1 {
		t.Fatalf("saved here: %q, %v", saved, err)
	}
	openArchive(t, saved[0])
	wantNothingLeft(t)
}
