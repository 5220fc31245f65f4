//go:build linux

package hostns

import "net"

// AllInterfaces lists every interface that is up and whose packets have a form
// that we can name: for who asks for interfaces by their names.
func AllInterfaces(n *Netns) ([]Interface, error) {
	links, handle, err := list(n)
	if err != nil {
		return nil, err
	}
	defer handle.Close()
	var interfaces []Interface
	for _, link := range links {
		i, ok := usable(link)
		if a := link.Attrs(); !ok && a.Flags&net.FlagLoopback != 0 && a.Flags&net.FlagUp != 0 {
			// Its packets have an Ethernet header without addresses.
			i, ok = Interface{Index: a.Index, Name: a.Name, MTU: a.MTU}, true
		}
		if ok {
			interfaces = append(interfaces, i)
		}
	}
	return interfaces, nil
}
