//go:build linux

package linuxutil

import (
	"bytes"
	"strconv"
)

// parseSNMP reads a file such as /proc/net/snmp or netstat: a line of names and a
// line of values for each section. What is no number from 0 to 2^64-1 is left
// out. The slices are valid during the call only.
func parseSNMP(text []byte, found func(section, name []byte, value uint64)) {
	for len(text) > 0 {
		var names, values []byte
		names, text = line(text)
		section, names, ok := bytes.Cut(names, []byte(":"))
		if !ok {
			continue
		}
		rest := text
		values, rest = line(rest)
		other, values, ok := bytes.Cut(values, []byte(":"))
		if !ok || !bytes.Equal(section, other) {
			continue
		}
		text = rest
		for {
			var name, value []byte
			name, names = word(names)
			value, values = word(values)
			if len(name) == 0 || len(value) == 0 {
				break
			}
			if n, ok := number(value, 10); ok {
				found(section, name, n)
			}
		}
	}
}

// parseSNMP6 reads /proc/net/snmp6: a name and a value on each line.
func parseSNMP6(text []byte, found func(name []byte, value uint64)) {
	for len(text) > 0 {
		var l []byte
		l, text = line(text)
		name, l := word(l)
		value, _ := word(l)
		if n, ok := number(value, 10); ok {
			found(name, n)
		}
	}
}

// parseSockstat reads /proc/net/sockstat or sockstat6: a section on each line, with
// pairs of a name and a value.
func parseSockstat(text []byte, found func(section, name []byte, value uint64)) {
	for len(text) > 0 {
		var l []byte
		l, text = line(text)
		section, l, ok := bytes.Cut(l, []byte(":"))
		if !ok {
			continue
		}
		for {
			var name, value []byte
			name, l = word(l)
			value, l = word(l)
			if len(value) == 0 {
				break
			}
			if n, ok := number(value, 10); ok {
				found(section, name, n)
			}
		}
	}
}

// parseConntrack reads /proc/net/stat/nf_conntrack: a line of names and, for each
// CPU, a line of values in hexadecimal. They are of 32 bits and wrap around, and so
// does their sum.
func parseConntrack(text []byte, found func(name []byte, sum uint32)) {
	header, text := line(text)
	var sums []uint32
	for len(text) > 0 {
		var l []byte
		l, text = line(text)
		for column := 0; ; column++ {
			var value []byte
			value, l = word(l)
			if len(value) == 0 {
				break
			}
			n, _ := number(value, 16)
			if column == len(sums) {
				sums = append(sums, 0)
			}
			sums[column] += uint32(n)
		}
	}
	for _, sum := range sums {
		var name []byte
		if name, header = word(header); len(name) == 0 {
			return
		}
		found(name, sum)
	}
}

// line cuts the first line off, without its end.
func line(text []byte) (first, rest []byte) {
	first, rest, _ = bytes.Cut(text, []byte("\n"))
	return first, rest
}

// word cuts the first word off.
func word(text []byte) (first, rest []byte) {
	text = bytes.TrimLeft(text, " \t")
	if end := bytes.IndexAny(text, " \t"); end >= 0 {
		return text[:end], text[end:]
	}
	return text, nil
}

func number(text []byte, base int) (uint64, bool) {
	n, err := strconv.ParseUint(string(text), base, 64)
	return n, err == nil
}
