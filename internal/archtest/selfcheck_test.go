package archtest

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"slices"
	"strings"
	"testing"
)

// Each rule on source that keeps it and source that breaks it. The mark /*!*/ is
// in the lines where a problem is to be found.
func TestRules(t *testing.T) {
	const mark = "/*!*/"
	long := func(lines int) string { return strings.Repeat("\t_ = 0\n", lines-2) + "}" }
	tests := []struct {
		name   string
		rule   func(*token.FileSet, []*ast.File) []problem
		source string
	}{
		{"name", emptyNames, `package session`},
		{"empty name", emptyNames, `package util /*!*/`},
		{"no init", initFunctions, `package p
			type t struct{}
			func (t) init() {}
			func initialise() {}`},
		{"init", initFunctions, `package p
			func init() { /*!*/
			}`},
		{"100 lines", longFunctions, "package p\nfunc f() {\n" + long(100)},
		{"101 lines", longFunctions, "package p\nfunc f() { /*!*/\n" + long(101)},
		{"documented", undocumented, `// Package p is documented.
			package p
			// A is documented.
			func A() {}
			func b() {}
			// T is documented.
			type T struct{}
			func (T) String() string { return "" }
			type c struct{}
			func (c) Exported() {}
			// Numbers.
			const (
				D = 1
				E = 2
			)
			var (
				F = 1 // documented
				g = 2
			)`},
		{"undocumented", undocumented, `package p /*!*/
			func A() {} /*!*/
			type B[T any] struct{} /*!*/
			func (*B[T]) C() {} /*!*/
			const ( // no comment on the group
				D = 1 // a line is enough
				E /*!*/ = 2
			)`},
		{"undocumented values", undocumented, `// Package p is documented.
			package p
			var A, b /*!*/ = 1, 2
			const ( // no comment on the group either
				C /*!*/ = 1
			)`},
		{"changed", changedGlobals, `package p
			import "os"
			var a, b, c = 1, map[string]int{}, struct{ d []int }{}
			func f() {
				a = 2 /*!*/
				a++ /*!*/
				b["x"] = 1 /*!*/
				c.d[0] += 2 /*!*/
				for a = range 3 { /*!*/
				}
				g(&a) /*!*/
				os.Args[0] = "x" /*!*/
				b, e := 1, a
				b, e = e, b
			}
			func g(a *int) { *a = a1 }`},
		{"not changed", changedGlobals, `package p
			import "example.com/unknown"
			var a, x = unknown.New(), 5
			type t struct{ a int }
			func (t *t) f(x int) {
				x++
				t.a = x
				if x := a.Do(&x); x != nil { x.b = 1 }
				_ = &unknown.Options{A: x}
			}`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			fset := token.NewFileSet()
			file, err := parser.ParseFile(fset, "p.go", test.source, parser.ParseComments|parser.SkipObjectResolution)
			if err != nil {
				t.Fatal(err)
			}
			var got, want []string
			for _, problem := range test.rule(fset, []*ast.File{file}) {
				got = append(got, fmt.Sprint("line ", fset.Position(problem.pos).Line))
			}
			for i, line := range strings.Split(test.source, "\n") {
				if strings.Contains(line, mark) {
					want = append(want, fmt.Sprint("line ", i+1))
				}
			}
			slices.Sort(got)
			slices.Sort(want)
			if got = slices.Compact(got); !slices.Equal(got, want) {
				t.Errorf("problems at %q, want %q", got, want)
			}
		})
	}
}
