package metrics

import "net/netip"

// parties names addresses for reports. Whoever was found for an address stays
// while the directory knows nobody: a pod that is gone is not "external".
type parties struct {
	known map[netip.Addr]Party // as of the report before
	used  map[netip.Addr]Party // of the one that is being made: the others are forgotten
	from  Directory
	own   map[netip.Addr]Party // addresses of targets
}

// renew prepares for a report.
func (p *parties) renew(from Directory, own map[netip.Addr]Party) {
	p.known, p.used = p.used, make(map[netip.Addr]Party)
	p.from, p.own = from, own
}

// at returns who has an address, with that address alone.
func (p *parties) at(addr netip.Addr) Party {
	addr = addr.WithZone("").Unmap()
	if !addr.IsValid() {
		return Party{Kind: KindUnknown}
	}
	if party, ok := p.used[addr]; ok {
		return party
	}
	party, ok := p.own[addr]
	if !ok {
		party = Party{Kind: KindUnknown}
		if p.from != nil {
			party = p.from.Party(addr)
		}
		if before, ok := p.known[addr]; ok && !named(party) {
			party = before
		}
	}
	party = party.at(addr)
	p.used[addr] = party
	return party
}

func named(p Party) bool { return p.Kind != "" && p.Kind != KindExternal && p.Kind != KindUnknown }
