//go:build linux

package linuxutil

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"

	"github.com/kubectl-retina/kubectl-retina/internal/plugin/packetforward/linkstats"
	"github.com/kubectl-retina/kubectl-retina/internal/plugin/scope"
)

// The files that are read of each network namespace. What is below net is that of
// the thread that opens it, for as long as it is open.
const (
	fileSNMP      = "/proc/thread-self/net/snmp"
	fileSNMP6     = "/proc/thread-self/net/snmp6"
	fileNetstat   = "/proc/thread-self/net/netstat"
	fileSockstat  = "/proc/thread-self/net/sockstat"
	fileSockstat6 = "/proc/thread-self/net/sockstat6"
	fileConntrack = "/proc/thread-self/net/stat/nf_conntrack"
	fileCount     = "/proc/sys/net/netfilter/nf_conntrack_count"
	fileMax       = "/proc/sys/net/netfilter/nf_conntrack_max"
)

var fileNames = []string{fileSNMP, fileSNMP6, fileNetstat, fileSockstat, fileSockstat6, fileConntrack, fileCount, fileMax}

// space is one target's network namespace, which its open files keep alive.
type space struct {
	target  uint32
	node    bool
	ino     uint64
	leaving bool                // the target is gone: the next sample is its last
	over    bool                // another target counts it already
	files   map[string]*os.File // those that there are
	links   *linkstats.Reader
	ifnames map[int]string // that are measured, by ifindex
	drivers []*driver
	sockets *sockets // nil where the kernel cannot say
	numbers *table
	// activity changes whenever a TCP socket of this namespace may have changed its
	// state, except by a timeout that sends nothing.
	activity uint64
}

// openSpace opens everything that is read of a target. i is one of its interfaces.
func openSpace(i scope.Interface) (*space, error) {
	s := &space{
		target: i.Target, node: i.Node, ino: i.Netns.Ino,
		files: make(map[string]*os.File), ifnames: make(map[int]string), numbers: newTable(),
	}
	err := i.Netns.Do(func() error {
		for _, name := range fileNames {
			file, err := os.Open(name)
			if errors.Is(err, fs.ErrNotExist) {
				continue // no IPv6, or no conntrack
			}
			if err != nil {
				return err
			}
			s.files[name] = file
		}
		return nil
	})
	if err == nil {
		s.links, err = linkstats.Open(i.Netns)
	}
	if err == nil {
		s.sockets, err = openSockets(i.Netns)
	}
	if errors.Is(err, unix.EPROTONOSUPPORT) {
		err = nil // no such netlink family in this kernel
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("netns %d: %w", i.Netns.Ino, err), s.Close())
	}
	return s, nil
}

// add measures one more interface.
func (s *space) add(i scope.Interface) error {
	s.ifnames[i.Index] = i.Name
	if !i.Uplink {
		return nil
	}
	d, err := openDriver(i.Netns, i.Name)
	if err != nil {
		return err
	}
	s.drivers = append(s.drivers, d)
	return nil
}

// Close closes all that is open.
func (s *space) Close() error {
	var closers []io.Closer
	for _, file := range s.files {
		closers = append(closers, file)
	}
	if s.links != nil {
		closers = append(closers, s.links)
	}
	if s.sockets != nil {
		closers = append(closers, s.sockets)
	}
	for _, d := range s.drivers {
		closers = append(closers, d)
	}
	var errs []error
	for _, c := range closers {
		errs = append(errs, c.Close())
	}
	return errors.Join(errs...)
}

// readAll reads everything but the sockets' states. buf is used if it is large
// enough, and returned.
func (s *space) readAll(buf []byte) ([]byte, error) {
	s.numbers.rewind()
	s.activity = 0
	var errs []error
	for _, name := range fileNames {
		file := s.files[name]
		if file == nil {
			continue
		}
		var err error
		if buf, err = readWhole(file, buf); err != nil {
			errs = append(errs, fmt.Errorf("netns %d: %w", s.ino, err))
			continue
		}
		s.take(name, buf)
	}
	errs = append(errs, s.readLinks())
	for _, d := range s.drivers {
		errs = append(errs, s.readDriver(d))
	}
	return buf, errors.Join(errs...)
}

// take parses what a file has.
func (s *space) take(name string, text []byte) {
	switch name {
	case fileSNMP, fileNetstat:
		parseSNMP(text, s.takeSNMP)
	case fileSNMP6:
		parseSNMP6(text, func(name []byte, value uint64) {
			if group := groupOfSNMP6(name); group != "" {
				s.numbers.count(group, "", "", name, value)
			}
		})
	case fileSockstat, fileSockstat6:
		parseSockstat(text, s.takeSockstat)
	case fileConntrack:
		parseConntrack(text, func(name []byte, sum uint32) {
			if string(name) != "entries" { // nf_conntrack_count says it once for all CPUs
				s.numbers.count32(groupConntrack, name, sum)
			}
		})
	case fileCount:
		s.takeNumber("count", text)
	case fileMax:
		s.takeNumber("max", text)
	}
}

func (s *space) takeSNMP(sectionName, name []byte, value uint64) {
	in, ok := sections[string(sectionName)]
	if !ok || settings[string(name)] {
		return
	}
	if string(sectionName) == "Tcp" {
		s.notice(value)
	}
	if gauges[string(name)] {
		s.numbers.set(in.group, in.prefix, name, value)
		return
	}
	s.numbers.count(in.group, "", in.prefix, name, value)
}

func (s *space) takeSockstat(sectionName, name []byte, value uint64) {
	if isOfAllNetns(sectionName, name) {
		if !s.node {
			return
		}
	} else if string(sectionName) == "TCP" || string(sectionName) == "TCP6" {
		s.notice(value)
	}
	s.numbers.set(groupSocket, string(sectionName)+"_", name, value)
}

// notice makes activity depend on a value (FNV-1a, by words).
func (s *space) notice(value uint64) { s.activity = (s.activity ^ value) * 0x100000001b3 }

func (s *space) takeNumber(name string, text []byte) {
	value, _ := word(text)
	l, _ := line(value)
	if n, ok := number(l, 10); ok {
		s.numbers.set(groupConntrack, "", []byte(name), n)
	}
}

func (s *space) readLinks() error {
	all, err := s.links.Read()
	if err != nil {
		return err
	}
	for ifindex, ifname := range s.ifnames {
		stats, ok := all[ifindex]
		if !ok {
			continue // it has vanished
		}
		for at := range stats {
			if name, ok := linkNames[at]; ok {
				s.numbers.count(groupInterface, ifname, "", []byte(name), stats[at])
			}
		}
	}
	return nil
}

// readDriver reads a network card's own counters. Some drivers have several of the
// same name.
func (s *space) readDriver(d *driver) error {
	sums := make(map[string]uint64)
	var order []string
	err := d.read(func(name string, value uint64) {
		if _, ok := sums[name]; !ok {
			order = append(order, name)
		}
		sums[name] += value
	})
	if errors.Is(err, unix.ENODEV) {
		return nil // it has vanished
	}
	for _, name := range order {
		s.numbers.count(groupInterface, d.ifname, "", []byte(name), sums[name])
	}
	return err
}

// readStates counts the TCP sockets by state.
func (s *space) readStates() error {
	states, err := s.sockets.count()
	if err != nil {
		return err
	}
	for i, name := range tcpStates {
		if name != "" {
			s.numbers.set(groupSocket, "", []byte(name), states[i])
		}
	}
	return nil
}

// readWhole reads a file of procfs from its beginning, into buf if that is large
// enough.
func readWhole(file *os.File, buf []byte) ([]byte, error) {
	buf = buf[:0]
	for {
		if cap(buf)-len(buf) < 4096 {
			buf = append(make([]byte, 0, 2*cap(buf)+32<<10), buf...)
		}
		n, err := file.ReadAt(buf[len(buf):cap(buf)], int64(len(buf)))
		buf = buf[:len(buf)+n]
		if errors.Is(err, io.EOF) {
			return buf, nil
		}
		if err != nil {
			return buf, err
		}
	}
}
