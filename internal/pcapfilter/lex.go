package pcapfilter

import (
	"regexp"
	"strconv"
	"strings"
)

type tokenKind uint8

const (
	tokenEnd     tokenKind = iota
	tokenWord              // a word of the language; text is its main spelling
	tokenSign              // an operator or a bracket
	tokenNumber            // also the named constants
	tokenName              // anything else made of letters, or what follows a backslash
	tokenIPv4              // two to four numbers with dots
	tokenIPv6              // an address
	tokenMAC               // an Ethernet address
	tokenARCnet            // $ and an ARCnet address
	tokenBadMAC            // looks like an Ethernet address that is cut off
	tokenUnknown           // a character that means nothing
)

type token struct {
	kind    tokenKind
	text    string // main spelling; without the backslash
	number  uint32 // of tokenNumber
	escaped bool   // had a backslash
	place   place
}

// A lexer takes the rule with the longest match, and of those the first.
type lexRule struct {
	kind    tokenKind
	pattern *regexp.Regexp
}

const (
	anyNumber = `([0-9]+|0[xX][0-9A-Fa-f]+)`
	hexByte   = `[0-9A-Fa-f]{1,2}`
	hexPair   = `[0-9A-Fa-f]{4}`
	hexWord   = `[0-9A-Fa-f]{1,4}`
)

var (
	signs     = longest(`&&|\|\||>=|<=|!=|==|<<|>>|[-+*/%:\[\]!<>()&|^=]`)
	nameRule  = longest(`[A-Za-z0-9]([-_.A-Za-z0-9]*[.A-Za-z0-9])?`)
	escapes   = longest(`\\[^ !()\n\t]+`)
	otherRule = []lexRule{
		{tokenARCnet, longest(`\$` + hexByte)},
		{tokenMAC, longest(repeated(hexByte, ":", 6) + `|` + repeated(hexByte, "-", 6) + `|` +
			repeated(hexByte, `\.`, 6) + `|` + repeated(hexPair, `\.`, 3) + `|` + repeated(hexPair, "", 3))},
		{tokenNumber, longest(anyNumber)},
		{tokenIPv4, longest(anyNumber + `(\.` + anyNumber + `){1,3}`)},
		{tokenIPv6, longest(ipv6Pattern())},
		{tokenBadMAC, longest(hexByte + `:+(` + hexByte + `:+)+`)},
		{tokenName, nameRule},
	}
)

func longest(pattern string) *regexp.Regexp {
	re := regexp.MustCompile(`^(?:` + pattern + `)`)
	re.Longest()
	return re
}

func repeated(pattern, separator string, n int) string {
	return pattern + strings.Repeat(separator+pattern, n-1)
}

// ipv6Pattern matches eight words, or fewer with one "::", and an IPv4 address in
// place of the last two words. What it matches may still be no address: a number
// of the IPv4 part may be too large.
func ipv6Pattern() string {
	words := func(n int) string {
		if n == 0 {
			return ""
		}
		return repeated(hexWord, ":", n)
	}
	ipv4 := anyNumber + strings.Repeat(`\.`+anyNumber, 3)
	all := []string{words(8), words(6) + `:` + ipv4}
	for n := range 8 {
		for before := range n + 1 {
			after := words(n - before)
			all = append(all, words(before)+`::`+after)
			if n <= 5 {
				if after != "" {
					after += ":"
				}
				all = append(all, words(before)+`::`+after+ipv4)
			}
		}
	}
	return strings.Join(all, `|`)
}

// lex cuts expr into tokens; the last one is of kind tokenEnd.
func lex(expr string) []token {
	var tokens []token
	for at := 0; at < len(expr); {
		switch expr[at] {
		case ' ', '\r', '\n', '\t':
			at++
			continue
		}
		t := nextToken(expr, at)
		tokens = append(tokens, t)
		at += t.place.length
	}
	return append(tokens, token{kind: tokenEnd, place: place{expr, len(expr), 0}})
}

func nextToken(expr string, at int) token {
	rest := expr[at:]
	found := func(kind tokenKind, text string, length int) token {
		return token{kind: kind, text: text, place: place{expr, at, length}}
	}
	best := found(tokenUnknown, rest[:1], 1)
	if m := signs.FindString(rest); m != "" {
		best = found(tokenSign, mainSign(m), len(m))
	} else if m := escapes.FindString(rest); m != "" {
		best = found(tokenName, m[1:], len(m))
		best.escaped = true
		return best
	}
	for _, rule := range otherRule {
		m := rule.pattern.FindString(rest)
		if len(m) == 0 || len(m) < best.place.length || len(m) == best.place.length && best.kind != tokenUnknown {
			continue
		}
		best = found(rule.kind, m, len(m))
	}
	switch best.kind {
	case tokenNumber:
		best.number = parseNumber(best)
	case tokenName:
		if word, ok := words[best.text]; ok {
			best.kind, best.text = tokenWord, word
			if sign, ok := wordSigns[word]; ok {
				best.kind, best.text = tokenSign, sign
			}
		} else if n, ok := constants[best.text]; ok {
			best.kind, best.number = tokenNumber, n
		}
	}
	return best
}

// mainSign maps signs that mean the same to one.
func mainSign(sign string) string {
	switch sign {
	case "&&":
		return "and"
	case "||":
		return "or"
	case "==":
		return "="
	}
	return sign
}

// parseNumber reads decimal, 0 octal and 0x hexadecimal numbers of 32 bits.
func parseNumber(t token) uint32 {
	n, err := strconv.ParseUint(t.text, 0, 64)
	if err != nil && strings.HasPrefix(t.text, "0") && !strings.ContainsAny(t.text, "xX") && strings.ContainsAny(t.text, "89") {
		t.place.fail("a number that begins with 0 is octal; leave the 0 away for a decimal one", "number %s has a digit that is not octal", t.text)
	}
	if err != nil || n > 0xffffffff {
		t.place.fail("", "number %s does not fit into 32 bits", t.text)
	}
	return uint32(n)
}
