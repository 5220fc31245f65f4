package pcapfilter

import (
	"fmt"
	"strconv"
	"strings"
)

// String is the filter's normal form: with every qualifier, without
// abbreviations, one spelling for each word. It parses to an equal filter.
func (f *Filter) String() string {
	if f.Empty() {
		return ""
	}
	return format(f.tree)
}

func format(tree expr) string {
	switch e := tree.(type) {
	case *combination:
		word := " and "
		if e.or {
			word = " or "
		}
		return formatPart(e.left, e.or) + word + formatRight(e.right)
	case *negation:
		return "not " + formatRight(e.x)
	case *match:
		return e.format()
	case *protocolTest:
		return e.protocol
	case *relation:
		return formatMath(e.left) + " " + e.operator + " " + formatMath(e.right)
	case *castTest:
		return strings.TrimSpace(e.protocol + map[bool]string{false: " broadcast", true: " multicast"}[e.multicast])
	case *lengthTest:
		return fmt.Sprintf("%s %d", map[bool]string{false: "less", true: "greater"}[e.greater], e.n)
	case *byteTest:
		return fmt.Sprintf("byte %d %s %d", e.index, e.operator, e.value)
	case *layer:
		if e.number != nil {
			return fmt.Sprintf("%s %d", e.name, *e.number)
		}
		return e.name
	case *llcTest:
		return strings.TrimSpace("llc " + strings.ToLower(e.kind))
	}
	panic("a tree has no other nodes")
}

// formatPart puts what is joined by the other word in brackets. Without them it
// would mean the same, but who knows that and and or bind alike?
func formatPart(tree expr, or bool) string {
	if c, ok := tree.(*combination); ok && c.or != or {
		return "(" + format(tree) + ")"
	}
	return format(tree)
}

func formatRight(tree expr) string {
	if _, ok := tree.(*combination); ok {
		return "(" + format(tree) + ")"
	}
	return format(tree)
}

func (m *match) format() string {
	q := m.qualifier
	if q.object {
		name := escapeObject(m.id.text)
		if ns := m.id.namespace; ns != "" && escapeObject(ns) == ns {
			name = ns + "/" + name
		} else if ns != "" { // the backslash covers the slash and what follows
			name = `\` + ns + "/" + m.id.text
		}
		return strings.TrimSpace(q.direction + " " + q.of.word() + " " + name)
	}
	kind := q.kind
	if kind == "" {
		kind = "host"
	}
	parts := []string{q.protocol, q.direction, kind, m.id.format()}
	return strings.Join(strings.Fields(strings.Join(parts, " ")), " ")
}

func (i id) format() string {
	switch i.kind {
	case idNumber:
		return strconv.FormatUint(uint64(i.number), 10)
	case idIPv4, idIPv6:
		switch {
		case i.prefix != nil:
			return fmt.Sprintf("%s/%d", i.text, *i.prefix)
		case i.mask != "":
			return i.text + " mask " + i.mask
		}
		return i.text
	case idName:
		return escape(i.text)
	}
	return i.text
}

// escape puts a backslash before what the lexer would not take for a name.
func escape(name string) string {
	if t := lexOne(name); t.kind == tokenName && t.text == name {
		return name
	}
	return `\` + name
}

// escapeObject puts a backslash before words of the language, and before what
// looks like a wrong number.
func escapeObject(name string) string {
	if _, ok := words[name]; ok || lexOne(name).text == "" {
		return `\` + name
	}
	return name
}

// lexOne is the token that all of a text is, or the zero token.
func lexOne(text string) (t token) {
	defer func() {
		if recover() != nil { // a number that is too large
			t = token{}
		}
	}()
	tokens := lex(text)
	if len(tokens) != 2 || tokens[0].place.length != len(text) {
		return token{}
	}
	return tokens[0]
}

func formatMath(a arithmetic) string {
	switch a := a.(type) {
	case number:
		return strconv.FormatUint(uint64(a.value), 10)
	case length:
		return "len"
	case *access:
		if a.size == 1 {
			return fmt.Sprintf("%s[%s]", a.protocol, formatMath(a.index))
		}
		return fmt.Sprintf("%s[%s : %d]", a.protocol, formatMath(a.index), a.size)
	case *minus:
		return "-" + formatOperand(a.x)
	case *calculation:
		return formatOperand(a.left) + " " + a.operator + " " + formatOperand(a.right)
	}
	panic("arithmetic has no other nodes")
}

// formatOperand puts calculations in brackets: how strong an operator binds is
// not for readers to remember either.
func formatOperand(a arithmetic) string {
	switch a.(type) {
	case *calculation, *minus:
		return "(" + formatMath(a) + ")"
	}
	return formatMath(a)
}
