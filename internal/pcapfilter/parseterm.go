package pcapfilter

import "slices"

// term parses a condition that begins with a word.
func (p *parser) term() operand {
	t := p.peek()
	start := t.place
	none := qualifier{undefined: true}
	switch {
	case slices.Contains(refusedWords, t.text):
		start.fail(refusedHint, "%q is for links that nodes do not have", start.text())
	case p.isWord("inbound", "outbound", "ifindex"):
		start.fail("choose interfaces and directions with the command's own flags", "%q is not in the bytes of a packet", start.text())
	case p.isWord("less", "greater"):
		p.next()
		return operand{tree: &lengthTest{greater: t.text == "greater", n: p.number(), place: p.from(start)}, qualifier: none}
	case p.isWord("byte"):
		return operand{tree: p.byteTest(), qualifier: none}
	case p.isWord("vlan", "mpls", "pppoed", "pppoes", "geneve"):
		return operand{tree: p.layer(), qualifier: none}
	case p.isWord("llc"):
		p.next()
		kind := ""
		if k := p.peek(); k.kind == tokenName || p.isWord("rnr") {
			kind = p.next().text
		}
		return operand{tree: &llcTest{place: p.from(start), kind: kind}, qualifier: none}
	case p.isWord("rnr"):
		start.fail(refusedHint, "%q is for links that nodes do not have", start.text())
	}
	protocol := ""
	if p.isWord(protocolWords...) {
		protocol = p.next().text
	}
	switch {
	case p.isWord("broadcast", "multicast"):
		multicast := p.next().text == "multicast"
		return operand{tree: &castTest{p.from(start), protocol, multicast}, qualifier: none}
	case p.isWord("type", "subtype", "dir"):
		p.peek().place.fail(refusedHint, "%q is for 802.11 links only", p.peek().place.text())
	}
	if q, ok := p.qualifier(protocol); ok {
		if p.isObject() {
			return p.object(p.objectDirection(q))
		}
		return p.asTerm(p.idAfter(q))
	}
	if protocol == "" {
		p.unexpected(t, "a condition")
	}
	return operand{tree: &protocolTest{start, protocol}, qualifier: none}
}

const refusedHint = "filters are for Ethernet and for IP without a link layer"

// qualifier parses a direction and a kind, at least one of them.
func (p *parser) qualifier(protocol string) (qualifier, bool) {
	q := qualifier{protocol: protocol}
	if p.isWord("proto", "gateway") {
		q.kind = p.next().text
		return q, true
	}
	if p.isWord("protochain") {
		p.peek().place.fail("use proto, which tests the first header only", `"protochain" needs a loop, which a program in the kernel must not have`)
	}
	switch {
	case p.isWord("src", "dst"):
		q.direction = p.direction()
	case p.isWord("addr1", "addr2", "addr3", "addr4", "ra", "ta"):
		p.peek().place.fail(refusedHint, "%q is for 802.11 links only", p.peek().place.text())
	}
	if p.isWord("host", "net", "port", "portrange") {
		q.kind = p.next().text
	}
	return q, q.direction != "" || q.kind != ""
}

// direction parses src, dst, or both with and or or between them.
func (p *parser) direction() string {
	first := p.next()
	if !p.isSign("and") && !p.isSign("or") {
		return first.text
	}
	sign := p.next().text
	second := p.next()
	if second.kind != tokenWord || second.text != map[string]string{"src": "dst", "dst": "src"}[first.text] {
		second.place.fail("", "unexpected %q, want src or dst: after %q comes the other direction", second.place.text(), first.text+" "+sign)
	}
	return "src " + sign + " dst"
}

func (p *parser) number() uint32 {
	t := p.next()
	if t.kind != tokenNumber {
		p.unexpected(t, "a number")
	}
	return t.number
}

// optionalNumber parses a number, perhaps in brackets.
func (p *parser) optionalNumber() *uint32 {
	if p.peek().kind == tokenNumber {
		n := p.number()
		return &n
	}
	if open := p.peek().place; p.accept("(") {
		n, ok := p.bracketedNumber(open)
		if !ok {
			p.unexpected(p.peek(), "a number")
		}
		return &n.value
	}
	return nil
}

func (p *parser) layer() expr {
	t := p.next()
	l := &layer{name: t.text}
	if t.text != "pppoed" {
		l.number = p.optionalNumber()
	}
	l.place = p.from(t.place)
	return l
}

func (p *parser) byteTest() expr {
	start := p.next().place
	b := &byteTest{index: p.number()}
	sign := p.next()
	if sign.kind != tokenSign || !slices.Contains([]string{"&", "|", "<", ">", "="}, sign.text) {
		p.unexpected(sign, "one of & | < > =")
	}
	b.operator, b.value = sign.text, p.number()
	b.place = p.from(start)
	return b
}

// isObject reports whether a word for a Kubernetes object comes, before what may
// be a name.
func (p *parser) isObject() bool {
	t := p.peek()
	if _, ok := objectWords[t.text]; !ok || t.kind != tokenName || t.escaped {
		return false
	}
	after := p.tokens[p.at+1]
	return after.kind != tokenEnd && after.kind != tokenUnknown && (after.kind != tokenSign || after.text == "(" || after.text == "!")
}

// objectDirection checks that only a direction stands before an object.
func (p *parser) objectDirection(q qualifier) string {
	if q.protocol != "" || q.kind != "" {
		t := p.peek()
		t.place.fail("only src and dst can stand before it; combine the rest with and", "%q cannot be qualified so", t.text)
	}
	return q.direction
}

func (p *parser) object(direction string) operand {
	kind := objectWords[p.next().text]
	return p.asTerm(p.idAfter(qualifier{object: true, of: kind, direction: direction}))
}

// asTerm makes a condition of an id with its qualifiers.
func (p *parser) asTerm(o operand) operand {
	o.kind, o.bracketed = operandTerm, false
	return o
}
