//go:build linux

package linuxutil

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/kubectl-retina/kubectl-retina/internal/hostns"
)

// Commands and layouts of include/uapi/linux/ethtool.h.
const (
	ethtoolStrings  = 0x1b // ETHTOOL_GSTRINGS
	ethtoolStats    = 0x1d // ETHTOOL_GSTATS
	ethtoolSetInfo  = 0x37 // ETHTOOL_GSSET_INFO
	ethtoolStatsSet = 1    // ETH_SS_STATS
	ethtoolNameLen  = 32   // ETH_GSTRING_LEN
	// ethtoolSlack is room for this many counters more than the driver has said that
	// it has: the kernel writes as many as there are by then, and does not ask how
	// large our buffer is. Changing the number of queues may add some hundreds.
	ethtoolSlack = 8192
	// ethtoolMost is far above what any driver has.
	ethtoolMost = 1 << 16
)

// A driver reads the counters of a network card's own driver.
type driver struct {
	file   *os.File // any socket in the netns
	ifname string
	total  uint32         // how many counters there are
	names  map[int]string // of those that are wanted
}

// openDriver prepares for the counters of one interface. An interface whose driver
// has none that are wanted is no error: its counters are none.
func openDriver(ns *hostns.Netns, ifname string) (*driver, error) {
	d := &driver{ifname: ifname}
	err := ns.Do(func() error {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return os.NewSyscallError("socket", err)
		}
		d.file = os.NewFile(uintptr(fd), "ethtool")
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("ask the driver of %s: %w", ifname, err)
	}
	return d, nil
}

// Close closes the socket.
func (d *driver) Close() error { return d.file.Close() }

// read calls found for each counter about packets that were not delivered, in the
// driver's order. Counters of the same name are added up by who listens.
func (d *driver) read(found func(name string, value uint64)) error {
	total, err := d.count()
	if err != nil || total == 0 {
		return err
	}
	if total != d.total {
		if err := d.readNames(total); err != nil {
			return err
		}
	}
	if len(d.names) == 0 {
		return nil
	}
	buf := make([]uint64, 1+total+ethtoolSlack) // for its alignment
	b := unsafe.Slice((*byte)(unsafe.Pointer(&buf[0])), len(buf)*8)
	binary.NativeEndian.PutUint32(b, ethtoolStats)
	binary.NativeEndian.PutUint32(b[4:], total)
	if err := d.ioctl(b); err != nil {
		return err
	}
	if binary.NativeEndian.Uint32(b[4:]) != total {
		d.total = 0
		return nil // they have just changed: the next time
	}
	for i := range int(total) {
		if name, ok := d.names[i]; ok {
			found(name, buf[1+i])
		}
	}
	return nil
}

// count asks how many counters there are; 0 when the driver has none.
func (d *driver) count() (uint32, error) {
	b := make([]byte, 16+4)
	binary.NativeEndian.PutUint32(b, ethtoolSetInfo)
	binary.NativeEndian.PutUint64(b[8:], 1<<ethtoolStatsSet)
	err := d.ioctl(b)
	if errors.Is(err, unix.EOPNOTSUPP) || err == nil && binary.NativeEndian.Uint64(b[8:]) == 0 {
		return 0, nil
	}
	total := binary.NativeEndian.Uint32(b[16:])
	if err == nil && total > ethtoolMost {
		err = fmt.Errorf("driver of %s has %d counters", d.ifname, total)
	}
	return total, err
}

func (d *driver) readNames(total uint32) error {
	b := make([]byte, 12+int(total+ethtoolSlack)*ethtoolNameLen)
	binary.NativeEndian.PutUint32(b, ethtoolStrings)
	binary.NativeEndian.PutUint32(b[4:], ethtoolStatsSet)
	binary.NativeEndian.PutUint32(b[8:], total)
	if err := d.ioctl(b); err != nil {
		return err
	}
	d.names = wanted(b[12 : 12+int(total)*ethtoolNameLen])
	d.total = total
	return nil
}

// wanted returns the counters that are about trouble, by their number. Those that
// every interface has are read from the kernel already.
func wanted(names []byte) map[int]string {
	found := make(map[int]string)
	for i := 0; len(names) >= ethtoolNameLen; i, names = i+1, names[ethtoolNameLen:] {
		text, _, _ := bytes.Cut(names[:ethtoolNameLen], []byte{0})
		name := string(bytes.TrimSpace(bytes.ToValidUTF8(text, []byte("?"))))
		if isTrouble(name) && !isLinkName(name) {
			found[i] = name
		}
	}
	return found
}

// ioctl has the kernel fill b.
func (d *driver) ioctl(b []byte) error {
	request := struct {
		name [unix.IFNAMSIZ]byte
		data unsafe.Pointer
		_    [16]byte // the rest of the union in struct ifreq
	}{data: unsafe.Pointer(&b[0])}
	copy(request.name[:unix.IFNAMSIZ-1], d.ifname)
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, d.file.Fd(), unix.SIOCETHTOOL, uintptr(unsafe.Pointer(&request)))
	runtime.KeepAlive(b)
	if errno != 0 {
		return fmt.Errorf("ask the driver of %s: %w", d.ifname, errno)
	}
	return nil
}
