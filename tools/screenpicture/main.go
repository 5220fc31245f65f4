// Command screenpicture turns a terminal's screen, as `tmux capture-pane -e -p` prints
// it, into an SVG: go run ./tools/screenpicture <screen >picture.svg
package main

import (
	"bufio"
	"fmt"
	"io"
	"os"
)

func main() {
	if err := convert(os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "screenpicture:", err)
		os.Exit(1)
	}
}

// convert reads a screen from in, and writes the picture of it to out.
func convert(in io.Reader, out io.Writer) error {
	var lines [][]run
	s := bufio.NewScanner(in)
	var style style // tmux goes on with it in the next line
	for s.Scan() {
		var line []run
		line, style = parse(s.Text(), style)
		lines = append(lines, line)
	}
	if err := s.Err(); err != nil {
		return fmt.Errorf("read screen: %w", err)
	}
	for len(lines) > 0 && len(lines[len(lines)-1]) == 0 {
		lines = lines[:len(lines)-1]
	}
	if _, err := out.Write(draw(lines)); err != nil {
		return fmt.Errorf("write picture: %w", err)
	}
	return nil
}
