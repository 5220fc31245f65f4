package archtest

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// sourceFile is one Go file of the module.
type sourceFile struct {
	path      string // from the module's root, with slashes
	syntax    *ast.File
	generated bool
}

func (f sourceFile) isTest() bool { return strings.HasSuffix(f.path, "_test.go") }

// in reports whether the file is somewhere below a directory of the module.
func (f sourceFile) in(dir string) bool { return strings.HasPrefix(f.path, dir+"/") }

// readSource parses the whole module.
func readSource(t *testing.T) (*token.FileSet, []sourceFile) {
	t.Helper()
	var files []sourceFile
	fset, tree := token.NewFileSet(), os.DirFS(root)
	err := fs.WalkDir(tree, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() {
			if slices.Contains([]string{".git", "bin", "dist", "testdata", "node_modules"}, entry.Name()) {
				return fs.SkipDir
			}
			return nil
		}
		if path.Ext(name) != ".go" {
			return nil
		}
		syntax, err := parser.ParseFile(fset, filepath.Join(root, filepath.FromSlash(name)), nil, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		files = append(files, sourceFile{path: name, syntax: syntax, generated: ast.IsGenerated(syntax)})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return fset, files
}

func TestSource(t *testing.T) {
	fset, files := readSource(t)
	tests := []struct {
		name    string
		applies func(sourceFile) bool
		rule    func(*token.FileSet, []*ast.File) []problem
	}{
		{"packages are named for what they do", func(sourceFile) bool { return true }, emptyNames},
		{"no init functions", func(f sourceFile) bool { return !f.generated }, initFunctions},
		{"functions of at most 100 lines", func(f sourceFile) bool { return !f.generated && !f.isTest() && !f.in("e2e") }, longFunctions},
		{"exported symbols have doc comments", func(f sourceFile) bool { return !f.generated && !f.isTest() && f.in("internal") }, undocumented},
		{"package variables are not changed", func(f sourceFile) bool { return !f.isTest() }, changedGlobals},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			packages := make(map[string][]*ast.File) // by directory
			for _, file := range files {
				if test.applies(file) {
					packages[path.Dir(file.path)] = append(packages[path.Dir(file.path)], file.syntax)
				}
			}
			if len(packages) == 0 {
				t.Fatal("no source to look at")
			}
			for _, syntax := range packages {
				for _, problem := range test.rule(fset, syntax) {
					t.Errorf("%s: %s", fset.Position(problem.pos), problem.text)
				}
			}
		})
	}
}
