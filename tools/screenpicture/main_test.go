package main

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"strings"
	"testing"
)

func TestParse(t *testing.T) {
	got, end := parse("a\x1b[1;31mb\x1b[0m\x1b[Kc\x1b[38;5;196;48;2;1;2;3md\x1b[7m", style{dim: true})
	want := []run{
		{style{dim: true}, "a"}, {style{dim: true, bold: true, text: "#e06c75"}, "b"}, {style{}, "c"},
		{style{text: "#ff0000", ground: "#010203"}, "d"},
	}
	if len(got) != len(want) {
		t.Fatalf("%+v", got)
	}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("run %d is %+v, want %+v", i, got[i], want[i])
		}
	}
	if last := (style{text: "#ff0000", ground: "#010203", reverse: true}); end != last {
		t.Errorf("ends in %+v", end)
	}
}

// However odd the screen, the picture is XML that has its text.
func TestPictureIsXML(t *testing.T) {
	var out bytes.Buffer
	if err := convert(strings.NewReader("\x1b[7m<POD> & \x1b[m ▇▅\n\x1b[38;5m\x1b[999;48;2mx\x1b[3\n\n"), &out); err != nil {
		t.Fatal(err)
	}
	var text strings.Builder
	decoder := xml.NewDecoder(&out)
	for {
		token, err := decoder.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if chars, ok := token.(xml.CharData); ok {
			text.Write(chars)
		}
	}
	for _, want := range []string{"<POD>\u00a0&\u00a0", "▇▅", "x"} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("%q is not in %q", want, text.String())
		}
	}
}
