package completion

import (
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/kubectl-retina/kubectl-retina/internal/hint"
)

func TestInstall(t *testing.T) {
	dir := t.TempDir()
	program := For("linux")
	for range 2 { // the second takes the place of the first
		path, err := program.Install(dir)
		if err != nil {
			t.Fatal(err)
		}
		text, err := os.ReadFile(path)
		if err != nil || string(text) != program.Content || path != filepath.Join(dir, "kubectl_complete-retina") {
			t.Errorf("%s: %q, %v", path, text, err)
		}
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 1 {
		t.Errorf("left: %v, %v", left, err)
	}
}

func TestInstallLeavesOthersAlone(t *testing.T) {
	dir := t.TempDir()
	theirs := filepath.Join(dir, "kubectl_complete-retina")
	if err := os.WriteFile(theirs, []byte("#!/bin/sh\necho mine\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	_, err := For("linux").Install(dir)
	if err == nil || !strings.Contains(err.Error(), "is not ours") || hint.Of(err) == "" {
		t.Errorf("error is %v, hint %q", err, hint.Of(err))
	}
	if text, err := os.ReadFile(theirs); err != nil || !strings.Contains(string(text), "echo mine") {
		t.Errorf("it was changed: %q, %v", text, err)
	}
	if _, err := For("linux").Install(filepath.Join(dir, "missing")); err == nil || hint.Of(err) == "" {
		t.Errorf("a directory that is not there: %v", err)
	}
}

// TestWords runs the program with a kubectl-retina that prints its arguments:
// each must come through whole, an empty one too.
func TestWords(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("the program for Windows is another")
	}
	dir := t.TempDir()
	path, err := For(runtime.GOOS).Install(dir)
	if err != nil {
		t.Fatal(err)
	}
	printer := "#!/bin/sh\nprintf '<%s>' \"$@\"\n"
	if err := os.WriteFile(filepath.Join(dir, "kubectl-retina"), []byte(printer), 0o700); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(path, "capture", "create", "-l", "app in (a, b)", "")
	cmd.Env = append(os.Environ(), "PATH="+dir+":"+os.Getenv("PATH"))
	out, err := cmd.CombinedOutput()
	if want := "<__complete><capture><create><-l><app in (a, b)><>"; err != nil || string(out) != want {
		t.Errorf("%q, %v, want %q", out, err, want)
	}
}

func TestWindows(t *testing.T) {
	p := For("windows")
	if p.Name != "kubectl_complete-retina.cmd" || !strings.Contains(p.Content, marker) || !strings.Contains(p.Content, "__complete %*") {
		t.Errorf("%+v", p)
	}
}
