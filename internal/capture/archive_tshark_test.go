//go:build !unit

package capture

import (
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kubectl-retina/kubectl-retina/internal/pcapng"
	"github.com/kubectl-retina/kubectl-retina/internal/staging"
	"github.com/kubectl-retina/kubectl-retina/internal/wire"
)

// archivesOfNodes are archives of n nodes with packets in turn: each packet says
// its number.
func archivesOfNodes(t testing.TB, n, each int) (paths []string) {
	for node := range n {
		var blocks []byte
		for i := range each {
			number := i*n + node
			b := datagram(wire.LinkTypeEthernet, fmt.Sprintf("10.0.%d.1", node), "10.0.99.1", fmt.Sprintf("%06d", number))
			blocks = pcapng.AppendEPB(blocks, 0, epoch+int64(number)*tick, uint32(len(b)), uint32(len(b)), pcapng.FlagInbound, b)
		}
		s := stored{node: fmt.Sprintf("n%d", node), interfaces: 1, blocks: blocks, reason: wire.EndDuration, names: []pcapng.Name{
			{Addr: netip.MustParseAddr(fmt.Sprintf("10.0.%d.1", node)), Name: fmt.Sprintf("web-%d.shop", node)},
			{Addr: netip.MustParseAddr("10.0.99.1"), Name: "db.shop"},
		}}
		if node%2 == 1 {
			s.config = func(c *staging.Config) { c.MaxFileBytes, c.FileCount = 20_000, 100 }
		}
		path, _ := s.archive(t)
		paths = append(paths, path)
	}
	return paths
}

func mergeArchivesToFile(t *testing.T, paths []string) (string, Result) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "merged.pcapng")
	out, err := OpenOutput(t.Context(), path, nil, Pcapng)
	if err != nil {
		t.Fatal(err)
	}
	result, err := MergeArchives(t.Context(), paths, out, Options{Section: pcapng.Section{Application: "kubectl-retina v1"}})
	if err != nil {
		t.Fatal(err)
	}
	if err := out.Close(); err != nil {
		t.Fatal(err)
	}
	return path, result
}

func TestStockProgramsReadMergedArchives(t *testing.T) {
	const nodes, each = 4, 500
	path, result := mergeArchivesToFile(t, archivesOfNodes(t, nodes, each))
	packets, info := stockReads(t, path)
	if !result.Complete || len(packets) != nodes*each {
		t.Fatalf("%d packets, result %+v", len(packets), result)
	}
	for i, line := range packets {
		node, ns := i%nodes, epoch+int64(i)*tick
		want := fmt.Sprintf("%d.%09d\tshop/web-n%d/eth0\tweb-%d.shop\tdb.shop\t\t\t%x\t", ns/1e9, ns%1e9, node, node, fmt.Sprintf("%06d", i))
		if line != want {
			t.Fatalf("packet %d is\n%q, want\n%q", i, line, want)
		}
	}
	for _, want := range []string{
		"Strict time order:   True\n", "Number of packets:   2000\n", "Capture application: kubectl-retina v1\n", "Number of interfaces in file: 4\n",
		"Description = node n3\n", "Number of resolved IPv4 addresses in file: 5\n",
	} {
		if !strings.Contains(info, want) {
			t.Errorf("capinfos does not say %q:\n%s", want, info)
		}
	}
	if strings.Count(info, "Number of stat entries = 1\n") != nodes || strings.Contains(info, "incomplete") {
		t.Errorf("capinfos says:\n%s", info)
	}
}

func TestStockProgramsShowDamagedArchive(t *testing.T) {
	paths := archivesOfNodes(t, 2, 3000)
	info, err := os.Stat(paths[0])
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(paths[0], info.Size()/2); err != nil {
		t.Fatal(err)
	}
	path, result := mergeArchivesToFile(t, paths)
	packets, text := stockReads(t, path)
	if result.Complete || result.Packets+result.Lost != 6000 || len(packets) != int(result.Packets) || result.Packets <= 3000 {
		t.Errorf("%d packets, result %+v", len(packets), result)
	}
	if want := "Capture comment:     incomplete: node n0: archive capture-n0-"; !strings.Contains(text, want) {
		t.Errorf("capinfos does not say %q:\n%s", want, text)
	}
	if noted := strings.Count(strings.Join(packets, "\n"), "packets are missing from here on: node n0: archive capture-n0-"); noted != 1 {
		t.Errorf("%d packets are noted", noted)
	}
}

// What a user has without us: tar, and the stock programs on the file in it.
func TestStockProgramsReadArchive(t *testing.T) {
	paths, dir := archivesOfNodes(t, 2, 500), t.TempDir()
	for _, path := range paths {
		if out, err := exec.Command("tar", "-xzf", path, "-C", dir).CombinedOutput(); err != nil || len(out) > 0 {
			t.Fatalf("tar: %v\n%s", err, out)
		}
	}
	files, err := filepath.Glob(filepath.Join(dir, "*", "*.pcapng"))
	if err != nil || len(files) < 3 {
		t.Fatalf("%v, %v", files, err)
	}
	total := 0
	for _, file := range files {
		packets, info := stockReads(t, file)
		total += len(packets)
		if !strings.Contains(info, "Strict time order:   True\n") {
			t.Errorf("capinfos says:\n%s", info)
		}
	}
	if total != 1000 {
		t.Errorf("%d packets in %v", total, files)
	}
}
