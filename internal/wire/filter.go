package wire

import (
	"errors"
	"fmt"
	"net/netip"
)

// Limits of filters.
const (
	MaxFilterInstructions = 4096    // in one program; the kernel's own limit for classic BPF
	MaxFilterObjects      = 32      // bits of FilterAddress.Objects
	MaxFilterAddresses    = 1 << 16 // known at one time
	MaxAddressChanges     = 8192    // in one frame
	MaxInterfaceNames     = 256
)

// FilterSpec is a compiled filter of packets.
type FilterSpec struct {
	// Ethernet and Raw are programs of classic BPF for packets that begin with an
	// Ethernet header, and for those that begin with the IP header. One of them may be
	// missing: no packet of that kind can be captured.
	Ethernet []FilterInstruction `json:"ethernet,omitempty"`
	Raw      []FilterInstruction `json:"raw,omitempty"`
	// NoRaw says why Raw is missing.
	NoRaw string `json:"noRaw,omitempty"`
	// Objects is how many objects the programs know of by bits, 0..MaxFilterObjects.
	Objects int `json:"objects,omitempty"`
	// Addresses are the objects' addresses at the beginning. KindAddresses frames
	// change them.
	Addresses []FilterAddress `json:"addresses,omitempty"`
}

// FilterInstruction is an instruction of classic BPF, as struct sock_filter.
type FilterInstruction struct {
	Op uint16 `json:"o"`
	Jt uint8  `json:"t,omitempty"`
	Jf uint8  `json:"f,omitempty"`
	K  uint32 `json:"k,omitempty"`
}

// FilterAddress says which objects of a filter have an address: bit N stands for
// the Nth. 0: none has it any more.
type FilterAddress struct {
	Addr    netip.Addr `json:"a"`
	Objects uint32     `json:"o"`
}

// Addresses is the payload of a KindAddresses frame: changes of the addresses of
// a filter's objects, at most MaxAddressChanges.
type Addresses struct {
	Changes []FilterAddress `json:"changes"`
}

// Validate reports the first thing that makes a unusable.
func (a *Addresses) Validate() error {
	if len(a.Changes) > MaxAddressChanges {
		return fmt.Errorf("%d changes of addresses, want at most %d", len(a.Changes), MaxAddressChanges)
	}
	return validateAddresses(a.Changes)
}

func validateAddresses(addresses []FilterAddress) error {
	for _, a := range addresses {
		if !a.Addr.IsValid() {
			return errors.New("a filter's address is empty")
		}
	}
	return nil
}

// validate leaves the instructions to whoever puts them into the kernel.
func (f *FilterSpec) validate() error {
	switch {
	case len(f.Ethernet) == 0 && len(f.Raw) == 0:
		return errors.New("a filter without a program")
	case len(f.Ethernet) > MaxFilterInstructions || len(f.Raw) > MaxFilterInstructions:
		return fmt.Errorf("filter has %d instructions, want at most %d", max(len(f.Ethernet), len(f.Raw)), MaxFilterInstructions)
	case f.Objects < 0 || f.Objects > MaxFilterObjects:
		return fmt.Errorf("filter has %d objects, want at most %d", f.Objects, MaxFilterObjects)
	case len(f.Addresses) > MaxFilterAddresses:
		return fmt.Errorf("filter has %d addresses, want at most %d", len(f.Addresses), MaxFilterAddresses)
	}
	return validateAddresses(f.Addresses)
}
