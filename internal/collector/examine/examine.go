//go:build linux

// Package examine looks at a node: what its kernel has, and whether each plugin
// works there.
package examine

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kubectl-retina/kubectl-retina/internal/hint"
	"github.com/kubectl-retina/kubectl-retina/internal/plugin/hook"
	"github.com/kubectl-retina/kubectl-retina/internal/plugin/packets"
	"github.com/kubectl-retina/kubectl-retina/internal/wire"
)

// A Trial tries one plugin that measures, with the calling thread in a network
// namespace of its own. It returns what the node cannot give of it.
type Trial func(plugin string) (lacks []string, err error)

// Node examines the node. It changes nothing there but for what is made for the
// trials and gone when it returns.
func Node(spec *wire.DoctorSpec, try Trial) (wire.Examined, error) {
	found := wire.Examined{
		BootID: firstLine("/proc/sys/kernel/random/boot_id"), BTF: btf("/sys/kernel/btf/vmlinux"),
		// A container has no securityfs of its own; PID 1 is the node's.
		Lockdown: lockdown(firstLine("/proc/1/root/sys/kernel/security/lockdown")), Unsynchronised: unsynchronised(),
	}
	var err error
	if found.Programs, err = programs("/proc"); err != nil {
		found.ProgramsUnknown = err.Error()
	}
	scratch, err := newScratch()
	if err != nil {
		return found, err
	}
	defer scratch.Close()
	err = scratch.Do(func() error {
		found.TCX = tcx()
		for _, name := range spec.Plugins {
			found.Tried = append(found.Tried, tried(name, try))
		}
		return nil
	})
	return found, err
}

// tried tries one plugin and takes the time.
func tried(name string, try Trial) wire.TriedPlugin {
	t := wire.TriedPlugin{Plugin: name}
	began := time.Now()
	var err error
	if name == packetsName {
		t.Hook, err = tryPackets("")
	} else {
		t.Lacks, err = try(name)
	}
	if err != nil {
		t.Cause, t.Hint = err.Error(), hint.Of(err)
	}
	t.Micros = time.Since(began).Microseconds()
	return t
}

const packetsName = "packets"

// tryPackets captures nothing for a moment and returns how it was attached. force
// is as in wire.PacketsSpec.
func tryPackets(force string) (hookName string, err error) {
	plugin, err := packets.Open(&wire.PacketsSpec{
		SnapLen: wire.MinSnapLen, RingBytes: wire.MinRingBytes, Hook: force,
		Targets: []wire.Target{{Name: "a network namespace made for this", Node: true}},
	})
	if err != nil {
		return "", err
	}
	ready := plugin.Ready()
	if err := errors.Join(plugin.Go(), plugin.Stop(), plugin.Close()); err != nil {
		return "", err
	}
	if len(ready.Interfaces) == 0 {
		return "", errors.New("it attached to nothing")
	}
	return ready.Interfaces[0].Hook, nil
}

// tcx is why there is no TCX; empty: there is.
func tcx() string {
	if _, err := tryPackets(hook.TCX); err != nil {
		return err.Error()
	}
	return ""
}

// btfMagic begins every file of types, in the node's byte order.
const btfMagic = 0xeb9f

// btf is why the kernel's types cannot be read; empty: they can.
func btf(path string) string {
	file, err := os.Open(path)
	if err != nil {
		return err.Error()
	}
	defer file.Close()
	magic := make([]byte, 2)
	if _, err := io.ReadFull(file, magic); err != nil {
		return fmt.Sprintf("read %s: %s", path, err)
	}
	if !bytes.Equal(magic, []byte{btfMagic & 0xff, btfMagic >> 8}) && !bytes.Equal(magic, []byte{btfMagic >> 8, btfMagic & 0xff}) {
		return fmt.Sprintf("%s begins with %x", path, magic)
	}
	return ""
}

// lockdown is the mode in brackets of "none [integrity] confidentiality"; "" for none.
func lockdown(text string) string {
	_, text, _ = strings.Cut(text, "[")
	mode, _, _ := strings.Cut(text, "]")
	if mode == "none" {
		return ""
	}
	return mode
}

// unsynchronised asks the kernel whether something keeps the clock right
// (adjtimex(2)).
func unsynchronised() bool {
	var t unix.Timex
	state, err := unix.Adjtimex(&t)
	return err == nil && (state == unix.TIME_ERROR || t.Status&unix.STA_UNSYNC != 0)
}

// firstLine is the first line of a short file of the kernel's, or "".
func firstLine(path string) string {
	file, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer file.Close()
	text, _ := io.ReadAll(io.LimitReader(file, 256))
	line, _, _ := strings.Cut(string(text), "\n")
	return line
}
