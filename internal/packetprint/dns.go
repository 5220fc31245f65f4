package packetprint

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"golang.org/x/net/dns/dnsmessage"
)

const (
	dnsHeaderLen  = 12 // RFC 1035, section 4.1.1
	maxDNSRecords = 64 // that are printed, of questions and of answers
)

// dns decodes a message. gopacket's decoder is not used for it: it panics where a
// message is cut, and a few bytes can have it allocate a thousand times as many.
func (d *decoder) dns(c *Content, p part, datagram bool) {
	if len(p.b) < dnsHeaderLen {
		c.cut("domain")
		return
	}
	var parser dnsmessage.Parser
	h, err := parser.Start(p.b)
	if err != nil {
		c.cut("domain")
		return
	}
	m := &DNS{ID: h.ID, Response: h.Response, Truncated: h.Truncated}
	c.DNS = m
	m.Questions, err = dnsQuestions(&parser)
	if err == nil && h.Response {
		m.Answers, err = dnsAnswers(&parser)
	}
	var counts [4]uint16
	for i := range counts {
		counts[i] = binary.BigEndian.Uint16(p.b[4+2*i:])
	}
	if h.Response {
		m.Code = rcodeName(h.RCode, rcodes(), strings.ToUpper)
		c.say(dnsResponse(h, m, counts))
	} else {
		c.say(dnsQuery(h, m, counts))
	}
	if datagram {
		c.say(fmt.Sprintf("(%d)", p.wire))
	}
	d.layer("DNS", "id %d, response %t, opcode %d, %d questions, %d answers, %d authorities, %d additionals",
		h.ID, h.Response, h.OpCode, counts[0], counts[1], counts[2], counts[3])
	for _, a := range m.Answers {
		d.layer("DNS", "%s %d %s %s", a.Name, a.TTL, a.Type, a.Data)
	}
	switch {
	case err == nil:
	case len(p.b) < p.wire:
		c.cut("domain")
	default:
		c.bad("bad DNS record")
	}
}

func dnsQuestions(parser *dnsmessage.Parser) ([]DNSQuestion, error) {
	var questions []DNSQuestion
	for {
		q, err := parser.Question()
		if errors.Is(err, dnsmessage.ErrSectionDone) {
			return questions, nil
		}
		if err != nil {
			return questions, err
		}
		if len(questions) < maxDNSRecords {
			questions = append(questions, DNSQuestion{Name: domain(q.Name), Type: typeName(q.Type)})
		}
	}
}

func dnsAnswers(parser *dnsmessage.Parser) ([]DNSAnswer, error) {
	var answers []DNSAnswer
	for len(answers) < maxDNSRecords {
		h, err := parser.AnswerHeader()
		if errors.Is(err, dnsmessage.ErrSectionDone) {
			return answers, nil
		}
		if err != nil {
			return answers, err
		}
		data, err := dnsData(parser, h.Type)
		if err != nil {
			return answers, err
		}
		answers = append(answers, DNSAnswer{Name: domain(h.Name), Type: typeName(h.Type), TTL: h.TTL, Data: data})
	}
	return answers, nil
}

// dnsData reads the data of the record whose header has been read, "" for a type
// that is not known.
func dnsData(parser *dnsmessage.Parser, typ dnsmessage.Type) (string, error) {
	switch typ {
	case dnsmessage.TypeA:
		r, err := parser.AResource()
		return netip.AddrFrom4(r.A).String(), err
	case dnsmessage.TypeAAAA:
		r, err := parser.AAAAResource()
		return netip.AddrFrom16(r.AAAA).String(), err
	case dnsmessage.TypeCNAME:
		r, err := parser.CNAMEResource()
		return domain(r.CNAME), err
	case dnsmessage.TypeNS:
		r, err := parser.NSResource()
		return domain(r.NS), err
	case dnsmessage.TypePTR:
		r, err := parser.PTRResource()
		return domain(r.PTR), err
	case dnsmessage.TypeMX:
		r, err := parser.MXResource()
		return fmt.Sprintf("%s %d", domain(r.MX), r.Pref), err
	case dnsmessage.TypeSRV:
		r, err := parser.SRVResource()
		return fmt.Sprintf("%s:%d %d %d", domain(r.Target), r.Port, r.Priority, r.Weight), err
	case dnsmessage.TypeTXT:
		r, err := parser.TXTResource()
		var texts []string
		for _, text := range r.TXT {
			texts = append(texts, strconv.Quote(clean(text, maxText)))
		}
		return clean(strings.Join(texts, " "), maxText), err
	}
	return "", parser.SkipAnswer()
}

// dnsQuery is a query as tcpdump has it.
func dnsQuery(h dnsmessage.Header, m *DNS, counts [4]uint16) string {
	text := strconv.Itoa(int(h.ID)) + opcode(h.OpCode)
	if h.RecursionDesired {
		text += "+"
	}
	if h.CheckingDisabled {
		text += "%"
	}
	for i, unit := range [...]string{"q", "a", "n", "au"} {
		if usual := i == 0; usual && counts[i] != 1 || !usual && counts[i] != 0 {
			text += fmt.Sprintf(" [%d%s]", counts[i], unit)
		}
	}
	for i, q := range m.Questions {
		if i > 0 {
			text += ","
		}
		text += " " + q.Type + "? " + q.Name
	}
	return text
}

// dnsResponse is a response as tcpdump has it.
func dnsResponse(h dnsmessage.Header, m *DNS, counts [4]uint16) string {
	text := strconv.Itoa(int(h.ID)) + opcode(h.OpCode)
	if h.RCode != dnsmessage.RCodeSuccess {
		text += " " + rcodeName(h.RCode, rcodes(), nil)
	}
	for _, flag := range []struct {
		set  bool
		text string
	}{{h.Authoritative, "*"}, {!h.RecursionAvailable, "-"}, {h.Truncated, "|"}, {h.AuthenticData, "$"}} {
		if flag.set {
			text += flag.text
		}
	}
	if counts[0] != 1 {
		text += fmt.Sprintf(" [%dq]", counts[0])
	}
	text += fmt.Sprintf(" %d/%d/%d", counts[1], counts[2], counts[3])
	for i, a := range m.Answers {
		if i > 0 {
			text += ","
		}
		text += " " + a.Type
		if a.Data != "" {
			text += " " + a.Data
		}
	}
	if len(m.Answers) == maxDNSRecords && int(counts[1]) > maxDNSRecords {
		text += ", …"
	}
	return text
}

func opcode(code dnsmessage.OpCode) string {
	switch code {
	case 0:
		return ""
	case 4:
		return " notify"
	case 5:
		return " update"
	}
	return fmt.Sprintf(" op%d", code)
}

// rcodes are the names of responses in tcpdump's spelling, which only differs by
// its case from that of the registry.
func rcodes() []string {
	return []string{"NoError", "FormErr", "ServFail", "NXDomain", "NotImp", "Refused", "YXDomain", "YXRRSet", "NXRRSet", "NotAuth", "NotZone"}
}

func rcodeName(code dnsmessage.RCode, names []string, spell func(string) string) string {
	name := fmt.Sprintf("RCODE%d", code)
	if int(code) < len(names) {
		name = names[code]
	}
	if spell != nil {
		name = spell(name)
	}
	return name
}

func typeName(typ dnsmessage.Type) string {
	names := map[dnsmessage.Type]string{
		1: "A", 2: "NS", 5: "CNAME", 6: "SOA", 12: "PTR", 13: "HINFO", 15: "MX", 16: "TXT", 28: "AAAA", 33: "SRV", 35: "NAPTR", 41: "OPT",
		43: "DS", 46: "RRSIG", 47: "NSEC", 48: "DNSKEY", 50: "NSEC3", 52: "TLSA", 64: "SVCB", 65: "HTTPS", 251: "IXFR", 252: "AXFR", 255: "ANY", 257: "CAA",
	}
	if name := names[typ]; name != "" {
		return name
	}
	return fmt.Sprintf("Type%d", typ)
}

// domain is a name with the bytes escaped that are not printable (RFC 4343,
// section 2.1).
func domain(name dnsmessage.Name) string {
	b := name.Data[:name.Length]
	text := make([]byte, 0, len(b))
	for _, c := range b {
		if c <= ' ' || c > '~' {
			text = append(text, '\\', '0'+c/100, '0'+c/10%10, '0'+c%10)
			continue
		}
		text = append(text, c)
	}
	return string(text)
}
