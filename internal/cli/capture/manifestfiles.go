package capture

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/kubectl-retina/kubectl-retina/internal/hint"
	"github.com/kubectl-retina/kubectl-retina/internal/manifest"
)

// fromStdin is the name of a file that means standard input.
const fromStdin = "-"

// readManifests reads the captures of files, of the manifests in directories, and
// of standard input. Their names must differ. skipped says what else there is.
func readManifests(paths []string, stdin io.Reader) (captures []*manifest.Capture, skipped []string, err error) {
	seen := map[string]bool{}
	for _, path := range paths {
		if path == fromStdin && seen[path] {
			return nil, nil, errors.New("-f - is given twice")
		}
		seen[path] = true
		files, err := manifestFiles(path)
		if err != nil {
			return nil, nil, fmt.Errorf("-f: %w", err)
		}
		for _, file := range files {
			parsed, err := readManifest(file, stdin)
			if err != nil {
				return nil, nil, err
			}
			captures, skipped = append(captures, parsed.Captures...), append(skipped, parsed.Skipped...)
		}
	}
	return captures, skipped, differentNames(captures)
}

// manifestFiles is path, or the manifests in it if it is a directory.
func manifestFiles(path string) ([]string, error) {
	switch {
	case path == "":
		return nil, errors.New("the name of the file is empty")
	case path == fromStdin:
		return []string{path}, nil
	case strings.HasPrefix(path, "http://") || strings.HasPrefix(path, "https://"):
		return nil, hint.Wrap(fmt.Errorf("%s is a URL", path), "fetch it and pass it on: curl -fsSL URL | kubectl retina capture create -f -")
	}
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.IsDir() {
		return []string{path}, nil
	}
	entries, err := os.ReadDir(path) // sorted
	if err != nil {
		return nil, err
	}
	var files []string
	for _, entry := range entries {
		extension := strings.ToLower(filepath.Ext(entry.Name()))
		if !entry.IsDir() && slices.Contains([]string{".yaml", ".yml", ".json"}, extension) {
			files = append(files, filepath.Join(path, entry.Name()))
		}
	}
	if len(files) == 0 {
		return nil, fmt.Errorf("directory %s: no *.yaml, *.yml or *.json in it", path)
	}
	return files, nil
}

func readManifest(path string, stdin io.Reader) (*manifest.Parsed, error) {
	origin, reader := path, stdin
	if path == fromStdin {
		origin = "standard input"
	} else {
		file, err := os.Open(path)
		if err != nil {
			var pathError *fs.PathError
			if errors.As(err, &pathError) {
				err = pathError.Err
			}
			return nil, fmt.Errorf("-f %s: %w", path, err)
		}
		defer file.Close()
		reader = file
	}
	text, err := io.ReadAll(io.LimitReader(reader, manifest.MaxBytes+1))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", origin, err)
	}
	return manifest.Parse(origin, text)
}

func differentNames(captures []*manifest.Capture) error {
	by := map[string]*manifest.Capture{}
	for _, m := range captures {
		if other := by[m.Name]; other != nil && m.Name != "" {
			return hint.Wrap(fmt.Errorf("%s: %s %q is also that of %s", m.Origin, manifest.PathName, m.Name, other.Origin), "give each capture a name of its own")
		}
		by[m.Name] = m
	}
	return nil
}
