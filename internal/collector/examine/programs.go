//go:build linux

package examine

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/kubectl-retina/kubectl-retina/bpf/dns"
	"github.com/kubectl-retina/kubectl-retina/bpf/dropreason"
	"github.com/kubectl-retina/kubectl-retina/bpf/packetparser"
	"github.com/kubectl-retina/kubectl-retina/bpf/packets"
	"github.com/kubectl-retina/kubectl-retina/bpf/tcpretrans"
	"github.com/kubectl-retina/kubectl-retina/internal/wire"
)

// maxName is how much of a program's name the kernel keeps.
const maxName = unix.BPF_OBJ_NAME_LEN - 1

// ourNames are the names of all our programs, as the kernel keeps them.
func ourNames() (map[string]bool, error) {
	names := map[string]bool{}
	for _, load := range []func() (*ebpf.CollectionSpec, error){
		packets.LoadPackets, packetparser.LoadPacketparser, dns.LoadDNS, dropreason.LoadDropreason, tcpretrans.LoadTcpretrans,
	} {
		spec, err := load()
		if err != nil {
			return nil, fmt.Errorf("read BPF object: %w", err)
		}
		for name := range spec.Programs {
			names[name[:min(len(name), maxName)]] = true
		}
	}
	return names, nil
}

// programs returns those in the kernel that are named as ours, oldest first.
func programs(procfs string) ([]wire.ProgramSeen, error) {
	names, err := ourNames()
	if err != nil {
		return nil, err
	}
	var found []wire.ProgramSeen
	for id := ebpf.ProgramID(0); len(found) < wire.MaxPrograms; {
		if id, err = ebpf.ProgramGetNextID(id); errors.Is(err, os.ErrNotExist) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("list BPF programs: %w", err)
		}
		seen, err := look(id)
		if err != nil {
			return nil, err
		}
		if names[seen.Name] {
			found = append(found, seen)
		}
	}
	slices.SortFunc(found, func(a, b wire.ProgramSeen) int {
		return cmp.Or(-cmp.Compare(a.AgeSeconds, b.AgeSeconds), cmp.Compare(a.ID, b.ID))
	})
	if len(found) == 0 {
		return nil, nil // and processes need not be looked at
	}
	return found, hold(procfs, found)
}

// look returns what there is to know of one program, without a name if it has
// just ended.
func look(id ebpf.ProgramID) (wire.ProgramSeen, error) {
	seen := wire.ProgramSeen{ID: uint32(id), AgeSeconds: -1}
	program, err := ebpf.NewProgramFromID(id)
	if errors.Is(err, os.ErrNotExist) {
		return seen, nil
	}
	if err != nil {
		return seen, fmt.Errorf("look at BPF program %d: %w", id, err)
	}
	defer program.Close()
	info, err := program.Info()
	if err != nil {
		return seen, fmt.Errorf("look at BPF program %d: %w", id, err)
	}
	seen.Name = info.Name
	var now unix.Timespec
	if loaded, ok := info.LoadTime(); ok && unix.ClockGettime(unix.CLOCK_BOOTTIME, &now) == nil {
		seen.AgeSeconds = max(0, int64((time.Duration(now.Nano())-loaded)/time.Second))
	}
	return seen, nil
}

// hold marks the programs that a process has open: itself, or a link to it. The
// filter of a packet socket shows in no file: where a collector runs, it is taken
// to be that one's.
func hold(procfs string, found []wire.ProgramSeen) error {
	held, err := openPrograms(procfs)
	if err != nil {
		return err
	}
	running := collectorRuns(procfs)
	for i := range found {
		p := &found[i]
		p.Held = held[p.ID] || running && strings.HasSuffix(p.Name, "_socket")
	}
	return nil
}

// openPrograms are the programs that processes have open (proc_pid_fdinfo(5)).
func openPrograms(procfs string) (map[uint32]bool, error) {
	files, err := filepath.Glob(procfs + "/[0-9]*/fdinfo/*")
	if err != nil {
		return nil, err
	}
	held := map[uint32]bool{}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			continue // closed meanwhile
		}
		for line := range strings.Lines(string(text)) {
			if value, ok := strings.CutPrefix(line, "prog_id:"); ok {
				if id, err := strconv.ParseUint(strings.TrimSpace(value), 10, 32); err == nil {
					held[uint32(id)] = true
				}
			}
		}
	}
	return held, nil
}

// collectorRuns reports whether another collector captures on this node.
func collectorRuns(procfs string) bool {
	files, err := filepath.Glob(procfs + "/[0-9]*/cmdline")
	if err != nil {
		return false
	}
	self := strconv.Itoa(os.Getpid())
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil || filepath.Base(filepath.Dir(file)) == self {
			continue
		}
		words := strings.Split(strings.TrimRight(string(text), "\x00"), "\x00")
		if len(words) == 2 && filepath.Base(words[0]) == "retina-collector" && (words[1] == "run" || words[1] == "keep") {
			return true
		}
	}
	return false
}
