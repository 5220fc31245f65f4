package capture

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/kubectl-retina/kubectl-retina/internal/capture"
	"github.com/kubectl-retina/kubectl-retina/internal/cli/exit"
	"github.com/kubectl-retina/kubectl-retina/internal/hint"
	"github.com/kubectl-retina/kubectl-retina/internal/packetprint"
	"github.com/kubectl-retina/kubectl-retina/internal/pcapng"
)

func TestWrongViews(t *testing.T) {
	for _, test := range []struct{ args, text, advice string }{
		{"pod/x --print=wide", `--print "wide" is not one of line, full, json`, ""},
		{"--print full pod/x", "--print and full are two words", "write --print=full"},
		{"pod/x --print full", "--print and full are two words", "write --print=full"},
		{"pod/x --print --write -", "both want standard output", "tee"},
		{"pod/x --print -o yaml", "--print=line and -o yaml both want standard output", "--print=json"},
		{"pod/x --print=full -o json", "--print=full and -o json both", "--print=json"},
		{"pod/x --print --no-wait", "--print is for captures that are streamed here", "capture download"},
		{"pod/x --print --host-path x", "--print is for captures that are streamed here", "capture download"},
		{"pod/x --wireshark --pvc x", "--wireshark is for captures that are streamed here", "capture download"},
		{"pod/x --wireshark --format pcap", "--wireshark needs the names", "leave --format away"},
	} {
		_, err := options(t, strings.Fields(test.args)...).complete()
		if exit.Code(err) != exit.Usage || !strings.Contains(err.Error(), test.text) || !strings.Contains(hint.Of(err), test.advice) {
			t.Errorf("%s: %v (code %d), hint %q", test.args, err, exit.Code(err), hint.Of(err))
		}
	}
}

func TestWhatIsPrinted(t *testing.T) {
	for _, test := range []struct {
		args          string
		packets       packetprint.Format
		summary, path string
		maxBytes      int64
		outputs       string
	}{
		{"pod/x --print", "line", "", "", 0, "standard output, printed"},
		{"pod/x --print=json", "json", "", "", 0, "standard output, printed"},
		{"pod/x --print -o json", "json", "", "", 0, "standard output, printed"},
		{"pod/x --print=full --write f --max-size 1", "full", "", "f", 1 << 20, "file f, standard output, printed"},
		{"pod/x --print --max-size 2", "line", "", "", 2 << 20, "standard output, printed"},
		{"pod/x --wireshark --write - ", "", "", "-", 100 << 20, "file -, Wireshark"},
		{"pod/x --wireshark --write f -o json", "json", "json", "f", 100 << 20, "file f, Wireshark"},
	} {
		o := options(t, strings.Fields(test.args)...)
		c, err := o.complete()
		if err != nil {
			t.Errorf("%s: %v", test.args, err)
			continue
		}
		r := newRun(o, c)
		if o.printFormat() != test.packets || o.summaryFormat() != test.summary || r.path() != test.path || c.maxBytes != test.maxBytes || strings.Join(r.outputs(), ", ") != test.outputs {
			t.Errorf("%s: packets %q, summary %q, path %q, %d bytes, %q", test.args, o.printFormat(), o.summaryFormat(), r.path(), c.maxBytes, r.outputs())
		}
	}
}

// pieces hands what is written to a channel.
type pieces chan string

func (p pieces) Write(b []byte) (int, error) {
	p <- string(b)
	return len(b), nil
}

// What has come is printed before more comes.
func TestPacketsArePrintedAsTheyCome(t *testing.T) {
	out := make(pieces, 10)
	p := newLivePrinter(out, packetprint.Line)
	file := readFile(true)
	last := len(readFile(false)) - len(pcapng.AppendEPB(nil, 0, 0, 45, 45, pcapng.FlagInbound, readPacket()))
	want := strings.SplitAfter(readLines(true), "\n")
	for i, part := range [][]byte{file[:last], file[last:]} {
		if _, err := p.Write(part); err != nil {
			t.Fatal(err)
		}
		select {
		case got := <-out:
			if got != want[i] {
				t.Errorf("printed %q, want %q", got, want[i])
			}
		case <-time.After(10 * time.Second):
			t.Fatalf("line %d is not printed", i)
		}
	}
	if err := p.Close(); err != nil {
		t.Error(err)
	}
	if len(out) > 0 {
		t.Errorf("also printed %q", <-out)
	}
}

func TestPrinterWithoutPackets(t *testing.T) {
	var out bytes.Buffer
	if err := newLivePrinter(&out, packetprint.JSON).Close(); err != nil || out.Len() > 0 {
		t.Errorf("%v, %q", err, out.String())
	}
}

// brokenOutput fails every write.
type brokenOutput struct{ err error }

func (b brokenOutput) Write([]byte) (int, error) { return 0, b.err }

func TestPrinterWhoseOutputFails(t *testing.T) {
	for _, reason := range []error{io.ErrClosedPipe, errors.New("no space left")} {
		p := newLivePrinter(brokenOutput{reason}, packetprint.Line)
		_, _ = p.Write(readFile(false)) // it may have been taken before the output fails
		<-p.done
		_, err := p.Write(readFile(false))
		left := reason == io.ErrClosedPipe
		if err == nil || capture.ReaderClosed(err) != left || !left && !strings.Contains(err.Error(), "print packets: no space left") {
			t.Errorf("%v: write gives %v", reason, err)
		}
		if err := p.Close(); (err == nil) != left {
			t.Errorf("%v: close gives %v", reason, err)
		}
	}
}

// The file and what is printed are the same capture.
func TestOutputWithFileAndPrinter(t *testing.T) {
	var out bytes.Buffer
	o := options(t, "pod/x", "--print", "--write", filepath.Join(t.TempDir(), "x.pcapng"))
	o.streams.Out = &out
	c, err := o.complete()
	if err != nil {
		t.Fatal(err)
	}
	opened, err := newRun(o, c).open(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	if got := opened.files(); len(got) != 1 || got[0] != o.write || opened.Name() != o.write {
		t.Errorf("files %q, name %q", got, opened.Name())
	}
	if err := opened.Discard(); err != nil || out.Len() > 0 {
		t.Errorf("%v, printed %q", err, out.String())
	}
	if _, err := os.Stat(o.write); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the file is still there: %v", err)
	}
}

func TestPlacesOfWireshark(t *testing.T) {
	env := map[string]string{"ProgramFiles": "C:/Programme", "ProgramFiles(x86)": "C:/Programme 32"}
	got := wiresharkPlaces("windows", func(name string) string { return env[name] })
	if want := filepath.Join("C:/Programme", "Wireshark", "Wireshark.exe"); len(got) != 2 || got[0] != want {
		t.Errorf("%q, want %q first", got, want)
	}
	if got := wiresharkPlaces("darwin", nil); len(got) != 1 || !strings.Contains(got[0], "/Wireshark.app/") {
		t.Errorf("%q", got)
	}
}

func TestNoWireshark(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("the program may be where its installer has put it")
	}
	t.Setenv("PATH", t.TempDir())
	if _, err := findWireshark(); err == nil || !strings.Contains(err.Error(), "no Wireshark") || hint.Of(err) == "" {
		t.Errorf("%v", err)
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "wireshark"), []byte("#!/bin/sh\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir)
	for _, name := range []string{"DISPLAY", "WAYLAND_DISPLAY", "QT_QPA_PLATFORM"} {
		t.Setenv(name, "")
	}
	if _, err := findWireshark(); err == nil || !strings.Contains(err.Error(), "no display") || hint.Of(err) == "" {
		t.Errorf("%v", err)
	}
	t.Setenv("DISPLAY", ":7")
	if path, err := findWireshark(); err != nil || path != filepath.Join(dir, "wireshark") {
		t.Errorf("%q, %v", path, err)
	}
}
