package main

import (
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

// A style is how characters look. Colours are as in SVG; "" is the screen's own.
type style struct {
	text, ground             string
	bold, dim, line, reverse bool
}

// A run is characters of one style.
type run struct {
	style
	chars string
}

// parse reads one line, which begins in a style, and returns the style that it ends in.
// Escape sequences that are not about looks are passed over.
func parse(text string, s style) ([]run, style) {
	var runs []run
	for text != "" {
		plain, rest, escaped := strings.Cut(text, "\x1b[")
		if plain != "" {
			runs = append(runs, run{s, plain})
		}
		if !escaped {
			break
		}
		end := strings.IndexFunc(rest, func(r rune) bool { return r >= '@' && r <= '~' })
		if end < 0 {
			break
		}
		if rest[end] == 'm' {
			s = s.with(rest[:end])
		}
		text = rest[end+1:]
	}
	return runs, s
}

// with is s after a sequence of "Select Graphic Rendition" (ECMA-48, 8.3.117).
func (s style) with(parameters string) style {
	var codes []int
	for word := range strings.SplitSeq(parameters, ";") {
		n, _ := strconv.Atoi(word) // none is 0
		codes = append(codes, n)
	}
	for len(codes) > 0 {
		n := codes[0]
		codes = codes[1:]
		switch {
		case n == 0:
			s = style{}
		case n == 1:
			s.bold = true
		case n == 2:
			s.dim = true
		case n == 4:
			s.line = true
		case n == 7:
			s.reverse = true
		case n == 22:
			s.bold, s.dim = false, false
		case n == 24:
			s.line = false
		case n == 27:
			s.reverse = false
		case n >= 30 && n <= 37, n >= 90 && n <= 97:
			s.text = indexed(n%10 + n/90*8)
		case n >= 40 && n <= 47, n >= 100 && n <= 107:
			s.ground = indexed(n%10 + n/100*8)
		case n == 38:
			s.text, codes = extended(codes)
		case n == 48:
			s.ground, codes = extended(codes)
		case n == 39:
			s.text = ""
		case n == 49:
			s.ground = ""
		}
	}
	return s
}

// extended reads a colour by its number or its parts, and returns what follows it.
func extended(codes []int) (string, []int) {
	switch {
	case len(codes) >= 2 && codes[0] == 5:
		return indexed(codes[1]), codes[2:]
	case len(codes) >= 4 && codes[0] == 2:
		return fmt.Sprintf("#%02x%02x%02x", codes[1]&255, codes[2]&255, codes[3]&255), codes[4:]
	}
	return "", nil
}

// indexed is one of xterm's 256 colours. The first 16 are a theme for dark grounds.
func indexed(n int) string {
	theme := [...]string{
		"#3b4252", "#e06c75", "#98c379", "#e5c07b", "#61afef", "#c678dd", "#56b6c2", "#d0d4dc",
		"#7f8794", "#ff8790", "#b5e08f", "#ffd98f", "#85c7ff", "#e09cf5", "#7fd8e4", "#ffffff",
	}
	switch {
	case n >= 0 && n < 16:
		return theme[n]
	case n < 0 || n > 255:
		return ""
	case n >= 232:
		gray := 8 + 10*(n-232)
		return fmt.Sprintf("#%02x%02x%02x", gray, gray, gray)
	}
	part := func(level int) int {
		if level == 0 {
			return 0
		}
		return 55 + 40*level
	}
	n -= 16
	return fmt.Sprintf("#%02x%02x%02x", part(n/36), part(n/6%6), part(n%6))
}

// width is how many cells chars take: none of them is wide on our screens.
func width(chars string) int { return utf8.RuneCountInString(chars) }
