package headers

import (
	"fmt"

	"github.com/kubectl-retina/kubectl-retina/internal/pcapng"
)

// TrimBlocks cuts every packet of a run of Enhanced Packet Blocks behind its
// headers: the captured length shrinks, the original length and the options stay.
// linkTypes are by interface ID. It works in place and allocates nothing; the
// blocks that it returns begin where blocks does, and what was behind them in
// blocks is no longer of use.
//
// A block that is damaged, or of an interface without a link type, is an error;
// then the packets before it are returned.
func TrimBlocks(blocks []byte, linkTypes []uint16) ([]byte, error) {
	trimmed := blocks[:0]
	for rest := blocks; len(rest) > 0; {
		p, next, err := pcapng.NextPacket(rest)
		if err != nil {
			return trimmed, err
		}
		id := p.Interface()
		if uint64(id) >= uint64(len(linkTypes)) {
			return trimmed, fmt.Errorf("packet on interface %d of %d", id, len(linkTypes))
		}
		trimmed = p.AppendCut(trimmed, uint32(Length(linkTypes[id], p.Data())))
		rest = next
	}
	return trimmed, nil
}
