package archtest

import (
	"errors"
	"fmt"
	"go/ast"
	"go/token"
	"go/types"
	"slices"
)

// problem is a place where source breaks a rule. A rule looks at the files of
// one package.
type problem struct {
	pos  token.Pos
	text string
}

const maxLines = 100

// bannedNames say where a package stands, not what it does.
var bannedNames = []string{
	"util", "utils", "common", "helper", "helpers", "types", "base", "misc", "manager", "managers", "service", "services",
}

func emptyNames(_ *token.FileSet, files []*ast.File) []problem {
	var problems []problem
	for _, file := range files {
		if slices.Contains(bannedNames, file.Name.Name) {
			problems = append(problems, problem{file.Name.Pos(), "package " + file.Name.Name + " does not say what it does"})
		}
	}
	return problems
}

func initFunctions(_ *token.FileSet, files []*ast.File) []problem {
	var problems []problem
	for _, function := range functions(files) {
		if function.Recv == nil && function.Name.Name == "init" {
			problems = append(problems, problem{function.Pos(), "func init hides what happens before main"})
		}
	}
	return problems
}

func longFunctions(fset *token.FileSet, files []*ast.File) []problem {
	var problems []problem
	for _, function := range functions(files) {
		lines := fset.Position(function.End()).Line - fset.Position(function.Pos()).Line + 1
		if lines > maxLines {
			problems = append(problems, problem{function.Pos(), fmt.Sprintf("%s has %d lines", function.Name.Name, lines)})
		}
	}
	return problems
}

func functions(files []*ast.File) []*ast.FuncDecl {
	var found []*ast.FuncDecl
	for _, file := range files {
		for _, decl := range file.Decls {
			if function, ok := decl.(*ast.FuncDecl); ok {
				found = append(found, function)
			}
		}
	}
	return found
}

// standardMethods promise what fmt and errors say that they do.
var standardMethods = []string{"Error", "String", "Unwrap"}

// undocumented wants a comment at the package, at each exported type, function
// and method of an exported type, and at each exported constant and variable or
// the group that it is in.
func undocumented(_ *token.FileSet, files []*ast.File) []problem {
	var problems []problem
	missing := func(name *ast.Ident, comments ...*ast.CommentGroup) {
		if name.IsExported() && !slices.ContainsFunc(comments, func(c *ast.CommentGroup) bool { return c != nil }) {
			problems = append(problems, problem{name.Pos(), name.Name + " has no doc comment"})
		}
	}
	if !slices.ContainsFunc(files, func(file *ast.File) bool { return file.Doc != nil }) {
		problems = append(problems, problem{files[0].Name.Pos(), "package " + files[0].Name.Name + " has no doc comment"})
	}
	for _, function := range functions(files) {
		method := function.Recv != nil
		if method && (slices.Contains(standardMethods, function.Name.Name) || !ast.IsExported(receiverType(function.Recv.List[0].Type))) {
			continue
		}
		missing(function.Name, function.Doc)
	}
	for _, file := range files {
		for _, decl := range file.Decls {
			group, ok := decl.(*ast.GenDecl)
			if !ok {
				continue
			}
			for _, spec := range group.Specs {
				switch spec := spec.(type) {
				case *ast.TypeSpec:
					missing(spec.Name, group.Doc, spec.Doc)
				case *ast.ValueSpec:
					for _, name := range spec.Names {
						missing(name, group.Doc, spec.Doc, spec.Comment)
					}
				}
			}
		}
	}
	return problems
}

func receiverType(expr ast.Expr) string {
	switch expr := expr.(type) {
	case *ast.Ident:
		return expr.Name
	case *ast.StarExpr:
		return receiverType(expr.X)
	case *ast.IndexExpr:
		return receiverType(expr.X)
	case *ast.IndexListExpr:
		return receiverType(expr.X)
	}
	return ""
}

// changedGlobals finds statements that assign to a package's variable, or to one
// of an imported package, and places that take its address.
func changedGlobals(fset *token.FileSet, files []*ast.File) []problem {
	uses := make(map[*ast.Ident]types.Object)
	config := types.Config{
		Importer: noImporter{},   // imports stay unknown, and with them whatever comes from there:
		Error:    func(error) {}, // names of this package resolve all the same
	}
	pkg, _ := config.Check("p", fset, files, &types.Info{Uses: uses})
	var problems []problem
	check := func(expr ast.Expr) {
		if name := rootName(expr); name != nil && isGlobal(uses[name], pkg) {
			problems = append(problems, problem{name.Pos(), name.Name + ": a package variable is changed or its address taken"})
		}
	}
	for _, file := range files {
		ast.Inspect(file, func(node ast.Node) bool {
			switch node := node.(type) {
			case *ast.AssignStmt:
				for _, left := range node.Lhs {
					check(left)
				}
			case *ast.RangeStmt:
				check(node.Key)
				check(node.Value)
			case *ast.IncDecStmt:
				check(node.X)
			case *ast.UnaryExpr:
				if node.Op == token.AND {
					check(node.X)
				}
			}
			return true
		})
	}
	return problems
}

// rootName returns the leftmost name of an expression that can be assigned to:
// x of x.y[0].
func rootName(expr ast.Expr) *ast.Ident {
	switch expr := expr.(type) {
	case *ast.Ident:
		return expr
	case *ast.SelectorExpr:
		return rootName(expr.X)
	case *ast.IndexExpr:
		return rootName(expr.X)
	case *ast.StarExpr:
		return rootName(expr.X)
	case *ast.ParenExpr:
		return rootName(expr.X)
	}
	return nil
}

func isGlobal(object types.Object, pkg *types.Package) bool {
	switch object := object.(type) {
	case *types.Var:
		return object.Parent() == pkg.Scope()
	case *types.PkgName:
		return true
	}
	return false
}

type noImporter struct{}

func (noImporter) Import(string) (*types.Package, error) { return nil, errors.New("not imported") }
