package capture

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"time"

	"github.com/kubectl-retina/kubectl-retina/internal/hint"
)

// How long Wireshark may leave what is written to it unread: it does so for good when
// its user stops the capture there, because it keeps its end of the pipe. While it
// starts that is longer, but not so long that the collectors' streams are cut.
const (
	wiresharkStart    = 40 * time.Second
	wiresharkPatience = 10 * time.Second
	wiresharkPipe     = 128 << 10 // bytes; a pipe holds fewer, so that what comes after them is read
)

// findWireshark returns the program's path: that in the PATH, or where its installers
// put it.
func findWireshark() (string, error) {
	if path, err := exec.LookPath("wireshark"); err == nil {
		return checkDisplay(path)
	}
	for _, path := range wiresharkPlaces(runtime.GOOS, os.Getenv) {
		if path, err := exec.LookPath(path); err == nil {
			return path, nil
		}
	}
	return "", hint.Wrap(errors.New("--wireshark: no Wireshark is on this machine"),
		"install it and put it in the PATH, or pipe the packets to where one is: --write - | ssh HOST wireshark -k -i -")
}

// wiresharkPlaces are where installers put the program on a system.
func wiresharkPlaces(system string, getenv func(string) string) []string {
	switch system {
	case "darwin":
		return []string{"/Applications/Wireshark.app/Contents/MacOS/Wireshark"}
	case "windows":
		var all []string
		for _, name := range []string{"ProgramW6432", "ProgramFiles", "ProgramFiles(x86)"} {
			if dir := getenv(name); dir != "" {
				all = append(all, filepath.Join(dir, "Wireshark", "Wireshark.exe"))
			}
		}
		return all
	}
	return nil
}

// checkDisplay refuses what would end at once without a word.
func checkDisplay(path string) (string, error) {
	if runtime.GOOS != "linux" || os.Getenv("DISPLAY") != "" || os.Getenv("WAYLAND_DISPLAY") != "" || os.Getenv("QT_QPA_PLATFORM") != "" {
		return path, nil
	}
	return "", hint.Wrap(errors.New("--wireshark: there is no display ($DISPLAY is not set)"),
		"log in with ssh -X, or run the command where the screen is, or print the packets: --print")
}

// A wireshark is a Wireshark that shows what is written to it. It starts with the
// first byte, and stays open when the capture ends.
type wireshark struct {
	path  string
	warn  func(string)
	in    *os.File
	taken int64
	ended chan struct{} // closed when the user has closed it
}

func newWireshark(path string, warn func(string)) *wireshark {
	return &wireshark{path: path, warn: warn, ended: make(chan struct{})}
}

// Write has b shown. When Wireshark has ended, or reads nothing for a while, the error
// is io.ErrClosedPipe or another that capture.ReaderClosed knows.
func (w *wireshark) Write(b []byte) (int, error) {
	if w.in == nil {
		if err := w.start(); err != nil {
			return 0, err
		}
	}
	patience := wiresharkPatience
	if w.taken < wiresharkPipe {
		patience = wiresharkStart
	}
	_ = w.in.SetWriteDeadline(time.Now().Add(patience)) // where pipes have none, Write waits
	n, err := w.in.Write(b)
	w.taken += int64(n)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		w.warn(fmt.Sprintf("Wireshark has read nothing for %s, as if its capture was stopped there: the capture ends", patience))
		return n, io.ErrClosedPipe
	}
	return n, err
}

// start starts the program with names shown, none of them asked of a DNS server, and
// apart from the terminal: what interrupts the command leaves Wireshark open.
func (w *wireshark) start() error {
	out, in, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("start Wireshark: %w", err)
	}
	defer out.Close()
	//nolint:noctx // it outlives this command
	cmd := exec.Command(w.path, "-k", "-N", "mn", "-i", "-")
	cmd.Stdin = out
	detach(cmd)
	if err := cmd.Start(); err != nil {
		return errors.Join(fmt.Errorf("start Wireshark: %w", err), in.Close())
	}
	w.in = in
	go func() {
		if err := cmd.Wait(); err != nil {
			w.warn("Wireshark has ended: " + err.Error() + "; run " + w.path + " by itself to see why")
		}
		close(w.ended)
	}()
	return nil
}

// Close ends the stream. Wireshark keeps what it has.
func (w *wireshark) Close() error {
	if w.in != nil {
		_ = w.in.Close() // it may have ended
	}
	return nil
}
