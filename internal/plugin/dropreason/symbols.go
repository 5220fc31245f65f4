//go:build linux

package dropreason

import (
	"bufio"
	"cmp"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
)

// maxFunction is how far behind a symbol an address is taken to be in that
// function: what lies farther away belongs to something without a name, such as
// a module that was loaded after the table was read.
const maxFunction = 1 << 16

// symbols are the kernel's functions by address.
type symbols struct {
	addresses []uint64 // sorted
	ends      []uint32 // of the names, in text
	text      string
}

// readSymbols reads /proc/kallsyms. Where the kernel hides addresses the table is
// empty.
func readSymbols() (*symbols, error) {
	file, err := os.Open("/proc/kallsyms")
	if err != nil {
		return nil, fmt.Errorf("read kernel symbols: %w", err)
	}
	defer file.Close()
	return parseSymbols(file)
}

// parseSymbols parses lines of "ADDRESS TYPE NAME[\t[MODULE]]". Lines in another
// form are left out, as is everything but functions.
func parseSymbols(r io.Reader) (*symbols, error) {
	var list []symbol
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		if one, ok := parseSymbol(lines.Text()); ok {
			list = append(list, one)
		}
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("read kernel symbols: %w", err)
	}
	slices.SortStableFunc(list, func(a, b symbol) int { return cmp.Compare(a.address, b.address) })
	s := &symbols{}
	var text strings.Builder
	for i, one := range list {
		if i > 0 && one.address == list[i-1].address {
			continue // an alias
		}
		text.WriteString(one.name)
		s.addresses = append(s.addresses, one.address)
		s.ends = append(s.ends, uint32(text.Len()))
	}
	s.text = text.String()
	return s, nil
}

// symbol is one function.
type symbol struct {
	address uint64
	name    string
}

func parseSymbol(line string) (symbol, bool) {
	hex, rest, ok := strings.Cut(line, " ")
	if !ok || len(rest) < 3 || rest[1] != ' ' || !strings.Contains("tTwW", rest[:1]) {
		return symbol{}, false
	}
	address, err := strconv.ParseUint(hex, 16, 64)
	if err != nil || address == 0 {
		return symbol{}, false
	}
	name, _, _ := strings.Cut(rest[2:], "\t") // the module
	// The compiler's copies of a function keep its name: "ip_rcv.constprop.0".
	name, _, _ = strings.Cut(name, ".")
	return symbol{address, name}, name != "" && !strings.HasPrefix(name, "__pfx_")
}

// function returns the start and the name of the function that called, when
// returning is the address where it goes on. Unknown ones are 0 and "".
func (s *symbols) function(returning uint64) (uint64, string) {
	if returning == 0 {
		return 0, ""
	}
	i, found := slices.BinarySearch(s.addresses, returning-1) // the call itself
	if !found {
		i--
	}
	if i < 0 || returning-s.addresses[i] > maxFunction {
		return 0, ""
	}
	return s.addresses[i], s.name(i)
}

// named returns the name of the function that starts at address, or "".
func (s *symbols) named(address uint64) string {
	if i, found := slices.BinarySearch(s.addresses, address); found {
		return s.name(i)
	}
	return ""
}

func (s *symbols) name(i int) string {
	begin := uint32(0)
	if i > 0 {
		begin = s.ends[i-1]
	}
	return s.text[begin:s.ends[i]]
}

// codeOf returns where the function of this name lies, or zeros.
func (s *symbols) codeOf(function string) (begin, end uint64) {
	for i, address := range s.addresses {
		if s.name(i) == function && i+1 < len(s.addresses) {
			return address, s.addresses[i+1]
		}
	}
	return 0, 0
}
