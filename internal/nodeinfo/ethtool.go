//go:build linux

package nodeinfo

import (
	"fmt"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// ethtool asks for the offloads of interfaces in the thread's namespace: they
// are why a capture has packets that are larger than the MTU, or checksums that
// are wrong.
type ethtool struct{ fd int }

func newEthtool() ethtool {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		fd = -1 // then there are no answers
	}
	return ethtool{fd}
}

func (e ethtool) close() { _ = unix.Close(e.fd) }

// text is two lines, or nothing for an interface that does not answer.
func (e ethtool) text(name string) string {
	text := ""
	if info, err := unix.IoctlGetEthtoolDrvinfo(e.fd, name); err == nil {
		text += fmt.Sprintf("    driver %s version %s firmware %s bus %s\n", orDash(unix.ByteSliceToString(info.Driver[:])),
			orDash(unix.ByteSliceToString(info.Version[:])), orDash(unix.ByteSliceToString(info.Fw_version[:])), orDash(unix.ByteSliceToString(info.Bus_info[:])))
	}
	var words []string
	for _, offload := range []struct {
		command uint32 // linux/ethtool.h
		name    string
	}{
		{unix.ETHTOOL_GRXCSUM, "rx-checksumming"}, {unix.ETHTOOL_GTXCSUM, "tx-checksumming"}, {unix.ETHTOOL_GSG, "scatter-gather"},
		{unix.ETHTOOL_GTSO, "tcp-segmentation-offload"}, {unix.ETHTOOL_GGSO, "generic-segmentation-offload"}, {unix.ETHTOOL_GGRO, "generic-receive-offload"},
	} {
		if on, err := e.get(name, offload.command); err == nil {
			words = append(words, fmt.Sprintf("%s %s", offload.name, map[bool]string{true: "on", false: "off"}[on]))
		}
	}
	// ETH_FLAG_LRO and the like share one word.
	if flags, err := e.value(name, unix.ETHTOOL_GFLAGS); err == nil {
		words = append(words, fmt.Sprintf("large-receive-offload %s", map[bool]string{true: "on", false: "off"}[flags&(1<<15) != 0]))
	}
	if len(words) > 0 {
		text += "    " + strings.Join(words, " ") + "\n"
	}
	return text
}

func (e ethtool) get(name string, command uint32) (bool, error) {
	value, err := e.value(name, command)
	return value != 0, err
}

// value does an ioctl with a struct ethtool_value.
func (e ethtool) value(name string, command uint32) (uint32, error) {
	argument := struct{ command, data uint32 }{command: command}
	// struct ifreq: a name and a union of 24 bytes, here of a pointer.
	request := struct {
		name [unix.IFNAMSIZ]byte
		data unsafe.Pointer
		_    [24 - unsafe.Sizeof(uintptr(0))]byte
	}{data: unsafe.Pointer(&argument)}
	copy(request.name[:unix.IFNAMSIZ-1], name)
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(e.fd), unix.SIOCETHTOOL, uintptr(unsafe.Pointer(&request)))
	if errno != 0 {
		return 0, errno
	}
	return argument.data, nil
}
