package pcapfilter

import (
	"fmt"
	"net/netip"
	"strings"
)

// simpleID parses an id that is neither a plain number nor in brackets.
func (p *parser) simpleID(q qualifier) expr {
	t := p.peek()
	if q.object {
		return p.objectID(q)
	}
	switch t.kind {
	case tokenName:
		p.next()
		return p.qualified(t.place, q, id{kind: idName, text: t.text})
	case tokenMAC:
		p.next()
		return p.qualified(t.place, q, id{kind: idMAC, text: t.text})
	case tokenARCnet:
		p.next()
		t.place.fail(refusedHint, "%q is an ARCnet address", t.text)
	case tokenIPv4:
		p.next()
		i := id{kind: idIPv4, text: t.text}
		if p.accept("/") {
			n := p.number()
			i.prefix = &n
		} else if p.isWord("mask") {
			p.next()
			mask := p.next()
			if mask.kind != tokenIPv4 {
				p.unexpected(mask, "an IPv4 mask like 255.255.0.0")
			}
			i.mask = mask.text
		}
		return p.qualified(p.from(t.place), q, i)
	case tokenIPv6:
		p.next()
		return p.ipv6(t, q)
	}
	want := "a condition"
	if !q.undefined {
		want = wantAfter(q)
	}
	if t.text == "[" && t.kind == tokenSign && (q.kind == "" || q.kind == "host" || q.kind == "net") {
		t.place.fail("write IPv6 addresses without brackets", "unexpected %q, want %s", t.text, want)
	}
	if q.direction != "" && p.isWord("src", "dst") {
		t.place.fail(`write "src or dst", or "src and dst"`, "unexpected %q, want %s", t.text, want)
	}
	if t.kind == tokenWord && !q.undefined {
		t.place.fail(fmt.Sprintf(`write \%s if it is a name`, t.place.text()), "unexpected %q, want %s", t.place.text(), want)
	}
	p.unexpected(t, want)
	return nil
}

// wantAfter says what can follow a qualifier.
func wantAfter(q qualifier) string {
	switch q.kind {
	case "port":
		return "a port"
	case "portrange":
		return "a range of ports like 6000-6008"
	case "net":
		return "a network like 10.0.0.0/8"
	case "proto":
		return "a protocol"
	case "gateway":
		return "a name"
	}
	return "an address or a name"
}

func (p *parser) ipv6(t token, q qualifier) expr {
	address, err := netip.ParseAddr(t.text)
	if err != nil {
		t.place.fail("", "%q is not an IPv6 address", t.text)
	}
	i := id{kind: idIPv6, text: t.text, address: address}
	if p.accept("/") {
		n := p.number()
		i.prefix = &n
	}
	return p.qualified(p.from(t.place), q, i)
}

// objectID parses the name of a Kubernetes object, with its namespace before a
// slash.
func (p *parser) objectID(q qualifier) expr {
	t := p.next()
	i := id{kind: idObject}
	if namespace, name, ok := strings.Cut(t.text, "/"); ok && t.escaped && isObjectName(namespace) && isObjectName(name) {
		i.namespace, i.text = namespace, name
	} else if i.text = p.objectName(t, q); p.accept("/") {
		i.namespace, i.text = i.text, p.objectName(p.next(), q)
	}
	at := p.from(t.place)
	if i.namespace != "" && (q.of == Node || q.of == Namespace) {
		at.fail("", "a %s has no namespace", q.of)
	}
	return p.qualified(at, q, i)
}

func (p *parser) objectName(t token, q qualifier) string {
	switch t.kind {
	case tokenName, tokenNumber, tokenIPv4, tokenMAC:
		name := strings.TrimPrefix(t.place.text(), `\`)
		if !isObjectName(name) {
			t.place.fail("names have lower case letters, digits, - and .", "%q cannot be the name of a %s", name, q.of)
		}
		return name
	case tokenWord:
		t.place.fail(fmt.Sprintf(`write \%s if it is a name`, t.place.text()), "unexpected %q, want the name of a %s", t.place.text(), q.of)
	}
	p.unexpected(t, fmt.Sprintf("the name of a %s", q.of))
	return ""
}

// isObjectName is the rule for names of most Kubernetes objects: RFC 1123
// subdomains.
func isObjectName(name string) bool {
	if name == "" || len(name) > 253 {
		return false
	}
	for label := range strings.SplitSeq(name, ".") {
		if label == "" || strings.Trim(label, "abcdefghijklmnopqrstuvwxyz0123456789-") != "" || label[0] == '-' || label[len(label)-1] == '-' {
			return false
		}
	}
	return true
}

func isObjectWord(t token) bool {
	_, ok := objectWords[t.text]
	return ok && t.kind == tokenName
}

// qualified is a match, or fails when there is no qualifier.
func (p *parser) qualified(at place, q qualifier, i id) expr {
	if !q.undefined {
		return &match{at, q, i}
	}
	text := at.text()
	if _, ok := objectWords[text]; ok {
		advice := "write its name after it"
		if p.isSign("/") {
			advice = fmt.Sprintf("write %s %s", text, p.nameAfter(token{place: at}))
		}
		at.fail(advice, "%q has no name after it", text)
	}
	example := "host " + text
	switch {
	case i.kind == idNumber:
		example = "port " + text
	case i.kind == idMAC:
		example = "ether host " + text
	case i.prefix != nil || i.mask != "":
		example = "net " + text
	}
	if port, ok := p.portAfter(); ok && (i.kind == idIPv4 || i.kind == idIPv6) {
		example += " and port " + port
	}
	at.fail("say what it is, as in "+example, "%q has no qualifier before it", text)
	return nil
}
