package pcapfilter

import (
	"fmt"
	"slices"
	"strings"
)

// parser turns tokens into a tree. An operand can be four things until what
// follows it shows which, so it returns them as an operand.
type parser struct {
	tokens []token
	at     int
	depth  int
}

// maxDepth bounds the nesting of an expression, and so the stack.
const maxDepth = 1000

type operandKind uint8

const (
	operandTerm   operandKind = iota // true or false by itself
	operandID                        // needs the qualifiers from before it; already in its tree
	operandNumber                    // an id or a number, also in brackets
	operandMath                      // a number
)

type operand struct {
	kind      operandKind
	tree      expr       // of a term and of an id
	math      arithmetic // of a number and of math
	qualifier qualifier  // for an id that follows
	bracketed bool       // an id in brackets: it cannot begin a list in brackets
}

func parse(source string) (tree expr, err error) {
	defer catch(&err)
	p := &parser{tokens: lex(source)}
	if p.peek().kind == tokenEnd {
		return nil, nil
	}
	p.refuseOption()
	tree = p.expression(qualifier{undefined: true}).tree
	if t := p.peek(); t.kind != tokenEnd {
		p.leftOver(t)
	}
	return tree, nil
}

// leftOver fails at what follows a whole expression.
func (p *parser) leftOver(t token) {
	const want = `"and", "or" or the end`
	before := p.tokens[p.at-1]
	switch {
	case t.kind == tokenSign && (t.text == "|" || t.text == "&"):
		t.place.fail(fmt.Sprintf("write %q: %s is for numbers", map[string]string{"|": "or", "&": "and"}[t.text], t.text), "unexpected %q, want %s", t.text, want)
	case before.kind == tokenIPv4 || before.kind == tokenIPv6:
		if port, ok := p.portAfter(); ok {
			t.place.fail(fmt.Sprintf(`write "and port %s" for it`, port), "unexpected %q, want %s", t.text, want)
		}
	case before.kind == tokenNumber && (t.text == "/" || t.text == "mask"):
		t.place.fail(fmt.Sprintf("write the network with dots: %s.0.0.0", before.text), "unexpected %q, want %s", t.place.text(), want)
	case t.kind == tokenWord, t.kind == tokenNumber, t.kind == tokenIPv4, t.kind == tokenIPv6, t.kind == tokenMAC, isObjectWord(t),
		t.kind == tokenName && didYouMean(t.text, usefulWords()) == "":
		t.place.fail(`write "and" or "or" before it`, "unexpected %q, want %s", t.place.text(), want)
	}
	p.unexpected(t, want)
}

func (p *parser) peek() token { return p.tokens[p.at] }

func (p *parser) next() token {
	t := p.tokens[p.at]
	if t.kind != tokenEnd {
		p.at++
	}
	return t
}

func (p *parser) isSign(text string) bool {
	t := p.peek()
	return t.kind == tokenSign && t.text == text
}

// accept takes the next token if it is that sign.
func (p *parser) accept(sign string) bool {
	if p.isSign(sign) {
		p.at++
		return true
	}
	return false
}

func (p *parser) isWord(words ...string) bool {
	t := p.peek()
	return t.kind == tokenWord && slices.Contains(words, t.text)
}

// from is the part of the source from start to the last token taken.
func (p *parser) from(start place) place {
	return start.to(p.tokens[p.at-1].place)
}

func (p *parser) enter(at place) {
	p.depth++
	if p.depth > maxDepth {
		at.fail("", "nested more than %d deep", maxDepth)
	}
}

// unexpected fails at a token that cannot stand where it does.
func (p *parser) unexpected(t token, want string) {
	switch {
	case t.kind == tokenEnd:
		t.place.fail("", "ends too early, want %s", want)
	case t.kind == tokenUnknown && t.text == ",":
		t.place.fail(`write "or" between the parts of a list`, "unknown character %q", firstRune(t))
	case t.kind == tokenUnknown:
		t.place.fail("", "unknown character %q", firstRune(t))
	case t.kind == tokenBadMAC:
		t.place.fail("six bytes in hexadecimal, as in 02:42:ac:11:00:02", "%q is not an Ethernet address", t.text)
	case t.kind == tokenName && !t.escaped:
		t.place.fail(didYouMean(t.text, usefulWords()), "unexpected %q, want %s", t.place.text(), want)
	}
	t.place.fail("", "unexpected %q, want %s", t.place.text(), want)
}

func firstRune(t token) string {
	for _, r := range t.place.expr[t.place.offset:] {
		return string(r)
	}
	return ""
}

// expression is operands with and and or between them, which bind alike.
func (p *parser) expression(before qualifier) operand {
	first := p.operand(before)
	if first.kind != operandTerm {
		p.needTerm(first)
	}
	return p.more(first)
}

// more takes what follows the first operand of an expression.
func (p *parser) more(left operand) operand {
	for p.isSign("and") || p.isSign("or") {
		or := p.next().text == "or"
		right := p.asCondition(p.operand(left.qualifier))
		left = operand{tree: &combination{or: or, left: left.tree, right: right.tree}, qualifier: right.qualifier}
	}
	return left
}

// asCondition makes a number that stands alone the id that it is.
func (p *parser) asCondition(o operand) operand {
	switch o.kind {
	case operandNumber:
		return p.numberID(o)
	case operandMath:
		p.needTerm(o)
	}
	return o
}

func (p *parser) numberID(o operand) operand {
	n := o.math.(number)
	i := id{kind: idNumber, number: n.value}
	if o.qualifier.object {
		i = id{kind: idObject, text: strings.Trim(n.text(), "() ")}
	}
	o.kind, o.tree = operandID, p.qualified(n.place, o.qualifier, i)
	return o
}

// needTerm fails where an operand is no condition.
func (p *parser) needTerm(o operand) {
	t := p.peek()
	switch o.kind {
	case operandID: // qualified has failed where there is no qualifier
		p.unexpected(t, "a condition")
	case operandMath, operandNumber:
		if t.kind == tokenEnd || t.text == ")" || t.text == "and" || t.text == "or" {
			o.math.where().fail("compare it, as in len > 100, or say what it is, as in port 80", "%q is a number, not a condition", o.math.where().text())
		}
		p.unexpected(t, "an operator")
	}
}

// operand parses whatever can stand between and and or.
func (p *parser) operand(before qualifier) operand {
	t := p.peek()
	p.enter(t.place)
	defer func() { p.depth-- }()
	switch {
	case t.kind == tokenSign && t.text == "!":
		p.next()
		o := p.asCondition(p.operand(before))
		o.tree, o.bracketed = &negation{o.tree}, false
		return o
	case t.kind == tokenSign && t.text == "(":
		return p.brackets(before)
	case t.kind == tokenNumber, t.kind == tokenSign && t.text == "-", p.isWord("len"), p.isAccess():
		return p.compare(p.math(0), before)
	case t.kind == tokenWord:
		return p.term()
	case p.isObject():
		return p.object("")
	case before.undefined && p.slip(t) != "":
		t.place.fail(p.slip(t), "unexpected %q, want a condition", t.place.text())
	case before.object && isObjectWord(t) && !t.escaped: // the name of it is missing
		p.next()
		p.qualified(t.place, qualifier{undefined: true}, id{kind: idName, text: t.text})
	case t.kind == tokenName && before.undefined && !t.escaped && !isObjectWord(t) && didYouMean(t.text, usefulWords()) != "":
		p.unexpected(t, "a condition")
	}
	return operand{kind: operandID, tree: p.simpleID(before), qualifier: before}
}

// brackets parses an operand in brackets: a condition, a list of ids, or math.
func (p *parser) brackets(before qualifier) operand {
	open := p.next().place
	inner := p.operand(before)
	switch inner.kind {
	case operandTerm:
		inner = p.more(inner)
		inner.qualifier = before
	case operandNumber:
		if !p.isSign(")") {
			inner = p.idList(p.numberID(inner))
		}
	case operandID:
		inner = p.idList(inner)
	}
	p.closing(open, ")")
	if inner.kind == operandNumber || inner.kind == operandMath {
		return p.compare(p.mathAfter(inner.math, 0), before)
	}
	return inner
}

func (p *parser) closing(open place, sign string) {
	if p.accept(sign) {
		return
	}
	if t := p.peek(); t.kind == tokenEnd {
		open.fail("", "%q is never closed", open.text())
	}
	p.unexpected(p.peek(), `"`+sign+`"`)
}

// compare makes a relation of math when a comparison follows.
func (p *parser) compare(left arithmetic, before qualifier) operand {
	t := p.peek()
	if t.kind == tokenSign && slices.Contains([]string{">", ">=", "=", "!=", "<", "<="}, t.text) {
		p.next()
		right := p.math(0)
		r := &relation{place: left.where().to(right.where()), operator: t.text, left: left, right: right}
		return operand{tree: r, qualifier: qualifier{undefined: true}}
	}
	if _, ok := left.(number); ok {
		return operand{kind: operandNumber, math: left, qualifier: before}
	}
	return operand{kind: operandMath, math: left, qualifier: before}
}

// idList takes what follows the first id of a list in brackets.
func (p *parser) idList(left operand) operand {
	if left.bracketed {
		p.unexpected(p.peek(), "a list without brackets around its first part")
	}
	for p.isSign("and") || p.isSign("or") {
		or := p.next().text == "or"
		right := p.idAfter(left.qualifier)
		right.tree = &combination{or: or, left: left.tree, right: right.tree}
		left = right
	}
	left.kind, left.bracketed = operandID, true
	return left
}

// idAfter parses what must be an id.
func (p *parser) idAfter(q qualifier) operand {
	t := p.peek()
	p.enter(t.place)
	defer func() { p.depth-- }()
	switch {
	case p.accept("!"):
		o := p.idAfter(q)
		o.tree, o.bracketed = &negation{o.tree}, false
		return o
	case p.isSign("("):
		open := p.next().place
		if n, ok := p.bracketedNumber(open); ok {
			return p.numberID(operand{math: n, qualifier: q})
		}
		inner := p.idList(p.idAfter(q))
		p.closing(open, ")")
		return inner
	case t.kind == tokenNumber && !q.object:
		p.next()
		return p.numberID(operand{math: number{t.place, t.number}, qualifier: q})
	}
	return operand{kind: operandID, tree: p.simpleID(q), qualifier: q}
}

// bracketedNumber takes NUMBER ")" or more of the kind "(" NUMBER ")" ")"; or nothing.
func (p *parser) bracketedNumber(open place) (number, bool) {
	start, nested := p.at, 0
	for p.accept("(") {
		nested++
	}
	t := p.peek()
	if t.kind == tokenNumber {
		p.next()
		closed := true
		for range nested + 1 {
			closed = closed && p.accept(")")
		}
		if closed {
			return number{p.from(open), t.number}, true
		}
	}
	p.at = start
	return number{}, false
}
