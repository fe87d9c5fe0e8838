package house

import (
	"go/ast"
	"go/token"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// banned is what non-test code may not say, why, and where it may all the same.
var banned = []struct {
	call   string // pkg.Name
	why    string
	except []string // rooms
}{
	{"log.Fatal", "return an error; one place maps errors to exit codes", nil},
	{"log.Fatalf", "return an error; one place maps errors to exit codes", nil},
	{"log.Fatalln", "return an error; one place maps errors to exit codes", nil},
	{"os.Exit", "return an error; one place maps errors to exit codes", []string{""}},
	{"time.Sleep", "wait on a timer and the context together", nil},
	{"http.ListenAndServe", "every server has time-outs and a parent that stops it", nil},
	{"http.Get", "every client has a time-out", nil},
	{"exec.Command", "use exec.CommandContext: every child has a parent that ends it", nil},
	{"math/rand.Seed", "randomness is injected", nil},
}

// bannedFields are struct keys whose use is a trap.
var bannedFields = []struct {
	name, why string
	except    []string
}{
	{"VerifyPeerCertificate", "a resumed session skips it; use VerifyConnection", nil},
	{"InsecureSkipVerify", "only the one verify function may replace the standard check", []string{"policy/pki"}},
}

func TestNoBannedCalls(t *testing.T) {
	for _, p := range callProblems(sources(t, tree)) {
		t.Error(p)
	}
}

func TestBannedCallsAreCaught(t *testing.T) {
	got := strings.Join(callProblems(sources(t, filepath.Join(tree, "testdata/house/calls"))), "\n")
	for _, want := range []string{"os.Exit", "log.Fatal", "time.Sleep", "VerifyPeerCertificate", "InsecureSkipVerify", "init()", "counter is assigned"} {
		if !strings.Contains(got, want) {
			t.Errorf("the bad tree should report %q, got:\n%s", want, got)
		}
	}
}

func callProblems(files []source) []string {
	var out []string
	globals := globalsOf(files)
	for _, s := range files {
		if s.test {
			continue
		}
		say := func(n ast.Node, text string) { out = append(out, s.fset.Position(n.Pos()).String()+": "+text) }
		ast.Inspect(s.ast, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.CallExpr:
				sayBannedCall(s, n, say)
			case *ast.KeyValueExpr:
				if k, ok := n.Key.(*ast.Ident); ok {
					sayBannedField(s, k, say)
				}
			case *ast.SelectorExpr:
				sayBannedField(s, n.Sel, say)
			case *ast.FuncDecl:
				if n.Recv == nil && n.Name.Name == "init" {
					say(n, "init() does work at import; construct in New")
				}
				sayGlobalWrites(n, globals[s.room], say)
			}
			return true
		})
	}
	return out
}

func sayBannedCall(s source, c *ast.CallExpr, say func(ast.Node, string)) {
	sel, ok := c.Fun.(*ast.SelectorExpr)
	if !ok {
		return
	}
	pkg, ok := sel.X.(*ast.Ident)
	if !ok {
		return
	}
	for _, b := range banned {
		if pkg.Name+"."+sel.Sel.Name == b.call && !slices.Contains(b.except, s.room) {
			say(c, b.call+": "+b.why)
		}
	}
}

func sayBannedField(s source, k *ast.Ident, say func(ast.Node, string)) {
	for _, b := range bannedFields {
		if k.Name == b.name && !slices.Contains(b.except, s.room) {
			say(k, b.name+": "+b.why)
		}
	}
}

// globalsOf lists each room's package-level variables.
func globalsOf(files []source) map[string]map[string]bool {
	out := map[string]map[string]bool{}
	for _, s := range files {
		if out[s.room] == nil {
			out[s.room] = map[string]bool{}
		}
		for _, d := range s.ast.Decls {
			g, ok := d.(*ast.GenDecl)
			if !ok || g.Tok != token.VAR {
				continue
			}
			for _, spec := range g.Specs {
				for _, name := range spec.(*ast.ValueSpec).Names {
					out[s.room][name.Name] = true
				}
			}
		}
	}
	return out
}

// sayGlobalWrites reports assignments to package-level variables. A local of the
// same name hides it: then the function declares the name somewhere.
func sayGlobalWrites(f *ast.FuncDecl, globals map[string]bool, say func(ast.Node, string)) {
	local := map[string]bool{}
	ast.Inspect(f, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.AssignStmt:
			if n.Tok == token.DEFINE {
				for _, l := range n.Lhs {
					if i, ok := l.(*ast.Ident); ok {
						local[i.Name] = true
					}
				}
			}
		case *ast.Field:
			for _, i := range n.Names {
				local[i.Name] = true
			}
		case *ast.ValueSpec:
			for _, i := range n.Names {
				local[i.Name] = true
			}
		}
		return true
	})
	write := func(n ast.Node, l ast.Expr) {
		if i := root(l); i != nil && i.Name != "_" && globals[i.Name] && !local[i.Name] {
			say(n, i.Name+" is assigned: a package has no mutable state")
		}
	}
	ast.Inspect(f, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.AssignStmt:
			if n.Tok != token.DEFINE {
				for _, l := range n.Lhs {
					write(n, l)
				}
			}
		case *ast.IncDecStmt:
			write(n, n.X)
		}
		return true
	})
}

func root(e ast.Expr) *ast.Ident {
	for {
		switch x := e.(type) {
		case *ast.Ident:
			return x
		case *ast.SelectorExpr:
			e = x.X
		case *ast.IndexExpr:
			e = x.X
		case *ast.StarExpr:
			e = x.X
		case *ast.ParenExpr:
			e = x.X
		default:
			return nil
		}
	}
}

// pure rooms compute: they import none of these and never read the clock.
var pure = []string{"policy", "policy/id", "policy/reason", "transport/balance", "transport/frame", "transport/fix", "transport/feed", "transport/http1", "audit/entry", "audit/tlog", "audit/order"}

func TestPureRoomsDoNoIO(t *testing.T) {
	for _, s := range sources(t, tree) {
		if s.test || !slices.Contains(pure, s.room) {
			continue
		}
		for _, i := range s.ast.Imports {
			switch p := strings.Trim(i.Path.Value, `"`); p {
			case "net", "os", "log", "log/slog", "net/http", "os/exec", "math/rand", "math/rand/v2":
				t.Errorf("%s imports %s: %s is pure", s.path, p, s.room)
			}
		}
		if strings.Contains(s.text, "time.Now()") || strings.Contains(s.text, "time.Since(") {
			t.Errorf("%s reads the clock: %s is pure, take the time as an argument", s.path, s.room)
		}
	}
}
