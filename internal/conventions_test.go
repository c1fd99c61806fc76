package internal

import (
	"go/ast"
	"go/parser"
	"go/token"
	"go/types"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// root is the top of the module.
const root = ".."

// walk calls visit with the path, relative to root, of every file of the
// project: neither of git nor built nor test data.
func walk(t *testing.T, visit func(path string)) {
	t.Helper()
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case !entry.IsDir():
			path, err = filepath.Rel(root, path)
			visit(path)
			return err
		case entry.Name() == ".git", entry.Name() == "testdata", path == filepath.Join(root, "build"):
			return fs.SkipDir
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, path))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// goFile is a Go file that nobody has generated.
type goFile struct {
	path   string
	test   bool
	syntax *ast.File
}

// goPackages returns the Go files by directory and name of the package.
func goPackages(t *testing.T, fset *token.FileSet) map[string][]goFile {
	t.Helper()
	packages := make(map[string][]goFile)
	walk(t, func(path string) {
		if filepath.Ext(path) != ".go" {
			return
		}
		syntax, err := parser.ParseFile(fset, filepath.Join(root, path), nil, parser.ParseComments)
		if err != nil {
			t.Error(err)
			return
		}
		if !ast.IsGenerated(syntax) {
			key := filepath.Join(filepath.Dir(path), syntax.Name.Name)
			packages[key] = append(packages[key], goFile{path, strings.HasSuffix(path, "_test.go"), syntax})
		}
	})
	return packages
}

// vague are names that say nothing of what a package does.
var vague = regexp.MustCompile(`^(utils?|common|helpers?|misc|base|shared|lib)$`)

// TestGoConventions checks what a compiler does not:
//
//   - a package has a name that says what it does;
//   - only main ends the process, and a TestMain;
//   - nothing runs before main;
//   - a variable of a package is a table, an embedded file or an error, and
//     nothing assigns to it.
func TestGoConventions(t *testing.T) {
	fset := token.NewFileSet()
	for _, files := range goPackages(t, fset) {
		uses := resolve(fset, files)
		for _, f := range files {
			at := func(n ast.Node) string { return fset.Position(n.Pos()).String() }
			if name := f.syntax.Name.Name; vague.MatchString(name) {
				t.Errorf("%s: a package called %s", f.path, name)
			}
			for _, decl := range f.syntax.Decls {
				switch decl := decl.(type) {
				case *ast.FuncDecl:
					if decl.Name.Name == "init" && decl.Recv == nil {
						t.Errorf("%s: func init", at(decl))
					}
					mayExit := f.path == "cmd/netcap/main.go" || f.test && decl.Name.Name == "TestMain"
					ast.Inspect(decl, func(n ast.Node) bool {
						if name := exits(n); name != "" && !(mayExit && name == "os.Exit") {
							t.Errorf("%s: %s", at(n), name)
						}
						return true
					})
				case *ast.GenDecl:
					for _, spec := range decl.Specs {
						if v, ok := spec.(*ast.ValueSpec); ok && decl.Tok == token.VAR && !f.test && !constant(v) && !embedded(v) {
							t.Errorf("%s: a global variable that is neither a table nor an error", at(v))
						}
					}
				}
			}
			if f.test {
				continue
			}
			ast.Inspect(f.syntax, func(n ast.Node) bool {
				for _, target := range assigned(n) {
					if v, ok := uses[target].(*types.Var); ok && v.Parent() != nil && v.Parent() == v.Pkg().Scope() {
						t.Errorf("%s: assigns to the global variable %s", at(n), target.Name)
					}
				}
				return true
			})
		}
	}
}

// exits returns the name of the function if n names one that ends the process.
func exits(n ast.Node) string {
	if sel, ok := n.(*ast.SelectorExpr); ok {
		if pkg, ok := sel.X.(*ast.Ident); ok {
			name := pkg.Name + "." + sel.Sel.Name
			if name == "os.Exit" || strings.HasPrefix(name, "log.Fatal") || strings.HasPrefix(name, "log.Panic") {
				return name
			}
		}
	}
	return ""
}

// constant tells whether a declaration gives its variables values that are as
// good as constants: literals, errors and regular expressions.
func constant(v *ast.ValueSpec) bool {
	for _, value := range v.Values {
		switch value := value.(type) {
		case *ast.CompositeLit, *ast.BasicLit:
		case *ast.CallExpr:
			switch types.ExprString(value.Fun) {
			case "errors.New", "regexp.MustCompile":
			default:
				return false
			}
		default:
			return false
		}
	}
	// An interface that is checked at compile time, "var _ I = T{}", is fine
	// whatever its value.
	return len(v.Values) > 0 || v.Names[0].Name == "_"
}

// embedded tells whether a variable holds a file that is part of the program.
func embedded(v *ast.ValueSpec) bool {
	return v.Doc != nil && strings.HasPrefix(v.Doc.List[len(v.Doc.List)-1].Text, "//go:embed ")
}

// assigned returns the variables that n changes or lets others change.
func assigned(n ast.Node) []*ast.Ident {
	var targets []ast.Expr
	switch n := n.(type) {
	case *ast.AssignStmt:
		targets = n.Lhs
	case *ast.IncDecStmt:
		targets = []ast.Expr{n.X}
	case *ast.RangeStmt:
		targets = []ast.Expr{n.Key, n.Value}
	case *ast.UnaryExpr:
		if n.Op == token.AND {
			targets = []ast.Expr{n.X}
		}
	case *ast.CallExpr:
		if fun, ok := n.Fun.(*ast.Ident); ok && (fun.Name == "delete" || fun.Name == "clear") {
			targets = n.Args[:1]
		}
	}
	var idents []*ast.Ident
	for _, target := range targets {
		if id := start(target); id != nil {
			idents = append(idents, id)
		}
	}
	return idents
}

// start returns the variable that an expression such as x.f[i] starts with.
func start(e ast.Expr) *ast.Ident {
	for {
		switch v := e.(type) {
		case *ast.Ident:
			return v
		case *ast.SelectorExpr:
			e = v.X
		case *ast.IndexExpr:
			e = v.X
		case *ast.StarExpr:
			e = v.X
		case *ast.ParenExpr:
			e = v.X
		default:
			return nil
		}
	}
}

// resolve tells what the identifiers of a package stand for. What it imports
// is not looked at.
func resolve(fset *token.FileSet, files []goFile) map[*ast.Ident]types.Object {
	info := &types.Info{Uses: make(map[*ast.Ident]types.Object)}
	config := types.Config{Importer: nothing{}, FakeImportC: true, Error: func(error) {}}
	var syntax []*ast.File
	for _, f := range files {
		syntax = append(syntax, f.syntax)
	}
	_, _ = config.Check("", fset, syntax, info)
	return info.Uses
}

// nothing imports empty packages.
type nothing struct{}

func (nothing) Import(path string) (*types.Package, error) {
	pkg := types.NewPackage(path, filepath.Base(path))
	pkg.MarkComplete()
	return pkg, nil
}

// TestLicences checks that C that goes into the kernel says under which licence.
func TestLicences(t *testing.T) {
	walk(t, func(path string) {
		ext := filepath.Ext(path)
		if (ext == ".c" || ext == ".h") && (strings.HasPrefix(path, "bpf/") || strings.HasSuffix(path, ".bpf.c")) {
			first, _, _ := strings.Cut(read(t, path), "\n")
			if !strings.Contains(first, "SPDX-License-Identifier: ") {
				t.Errorf("%s: the first line is no SPDX line", path)
			}
		}
	})
}

// TestNothingLeftToDo checks that nobody has left a note to come back.
func TestNothingLeftToDo(t *testing.T) {
	notes := regexp.MustCompile(`\b(TO` + `DO|FIX` + `ME|XX` + `X)\b`)
	walk(t, func(path string) {
		switch filepath.Ext(path) {
		case ".go", ".c", ".h", ".sh", ".md", ".yml", ".yaml", "":
		default:
			return
		}
		info, err := os.Stat(filepath.Join(root, path))
		if err != nil || info.Size() > 1<<20 {
			return // built
		}
		for i, line := range strings.Split(read(t, path), "\n") {
			if note := notes.FindString(line); note != "" {
				t.Errorf("%s:%d: %s", path, i+1, note)
			}
		}
	})
}

// TestReliability looks for the tests that docs/reliability.md names.
func TestReliability(t *testing.T) {
	var all strings.Builder
	walk(t, func(path string) {
		if strings.HasSuffix(path, "_test.go") {
			all.WriteString(read(t, path))
		}
	})
	named := regexp.MustCompile("`(Test[A-Za-z]+)(?:/([^`]+))?`").FindAllStringSubmatch(read(t, "docs/reliability.md"), -1)
	if len(named) < 20 {
		t.Errorf("only %d tests are named", len(named))
	}
	for _, m := range named {
		if !strings.Contains(all.String(), "func "+m[1]+"(t *testing.T)") || m[2] != "" && !strings.Contains(all.String(), "t.Run(\""+m[2]+"\"") {
			t.Errorf("there is no test %s/%s", m[1], m[2])
		}
	}
}
