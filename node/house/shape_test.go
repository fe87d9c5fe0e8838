package house

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// The yardstick is what admired Go code keeps to: 99 of 100 functions under 120
// lines, small interfaces, no file that holds several ideas.
const (
	functionLinesMax     = 120
	functionLinesUsual   = 70
	functionsOverUsual   = 0.03 // share of functions that may pass functionLinesUsual
	structFieldsMax      = 40
	interfaceMethodsMax  = 8
	fileLinesMax         = 800
	packageDocLinesLeast = 8
)

// source is one parsed file with its path from the root.
type source struct {
	path string
	room string
	test bool
	fset *token.FileSet
	ast  *ast.File
	text string
}

func sources(t *testing.T, root string) []source {
	t.Helper()
	var out []source
	for _, p := range goFilesBelow(t, root) {
		text, err := os.ReadFile(filepath.Join(root, p))
		if err != nil {
			t.Fatal(err)
		}
		fset := token.NewFileSet()
		f, err := parser.ParseFile(fset, p, text, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		room := path.Dir(p)
		if room == "." {
			room = ""
		}
		out = append(out, source{p, room, strings.HasSuffix(p, "_test.go"), fset, f, string(text)})
	}
	return out
}

func (s source) lines(n ast.Node) int {
	return s.fset.Position(n.End()).Line - s.fset.Position(n.Pos()).Line + 1
}

func TestEveryRoomExplainsItself(t *testing.T) {
	docs := map[string]string{}
	for _, s := range sources(t, tree) {
		if s.ast.Doc != nil && !s.test {
			docs[s.room] += s.ast.Doc.Text()
		}
	}
	for room := range floors {
		doc := docs[room]
		if room == "" {
			continue // a command; its text is the README
		}
		if n := strings.Count(doc, "\n"); n < packageDocLinesLeast {
			t.Errorf("%s: the package doc has %d lines; say what it owns and refuses, draw it, name invariants, limits, decisions", room, n)
			continue
		}
		for _, word := range []string{"own", "refuse", "nvariant", "ecision"} {
			if !strings.Contains(doc, word) {
				t.Errorf("%s: the package doc has no %q", room, word)
			}
		}
	}
}

func TestThingsStaySmall(t *testing.T) {
	functions, long := 0, 0
	for _, s := range sources(t, tree) {
		if n := strings.Count(s.text, "\n"); n > fileLinesMax {
			t.Errorf("%s has %d lines; a file is one idea, %d lines at most", s.path, n, fileLinesMax)
		}
		if s.test {
			continue
		}
		ast.Inspect(s.ast, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.FuncDecl:
				functions++
				switch l := s.lines(n); {
				case l > functionLinesMax:
					t.Errorf("%s: %s has %d lines, %d at most", s.path, n.Name.Name, l, functionLinesMax)
				case l > functionLinesUsual:
					long++
				}
			case *ast.StructType:
				if l := n.Fields.NumFields(); l > structFieldsMax {
					t.Errorf("%s: a struct has %d fields, %d at most", s.fset.Position(n.Pos()), l, structFieldsMax)
				}
			case *ast.InterfaceType:
				if l := n.Methods.NumFields(); l > interfaceMethodsMax && !slices.Contains(largeInterfaces, s.room) {
					t.Errorf("%s: an interface has %d methods, %d at most", s.fset.Position(n.Pos()), l, interfaceMethodsMax)
				}
			}
			return true
		})
	}
	if share := float64(long) / float64(functions); share > functionsOverUsual {
		t.Errorf("%.1f %% of %d functions pass %d lines, %.0f %% may", share*100, functions, functionLinesUsual, functionsOverUsual*100)
	}
}

// largeInterfaces are rooms whose interface is one noun of the design that cannot be cut:
// transport.Session is what a connection is.
var largeInterfaces = []string{"transport"}
