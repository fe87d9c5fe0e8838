package shm

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"os/exec"
	"regexp"
	"strconv"
	"testing"
)

// TestHotPathsHaveNoBoundsChecks asks the compiler where it checks bounds. On the hot path it is
// nowhere: a length that comes from memory which another process writes is held against the
// reader's own buffer by the reader, and one that cannot be ends it without a panic.
func TestHotPathsHaveNoBoundsChecks(t *testing.T) {
	if testing.Short() {
		t.Skip("it compiles the package")
	}
	allowed := map[string]int{
		// Not on the path of messages.
		"writer.go (*Writer).addReader": 1, "writer.go (*Writer).RemoveReader": 1,
		"ring.go FillData": 1, "ring.go (*ring).read": 1,
		"wait.go (*Waiter).wait": 2,
		// A caller has a fixed table of what it waits for, which an id from the other side indexes.
		"calls.go": 9,
	}
	out, err := exec.CommandContext(t.Context(), "go", "build", "-gcflags=fire/transport/shm=-d=ssa/check_bce", "-o", "/dev/null", ".").CombinedOutput()
	if err != nil {
		t.Skipf("the compiler is not there: %v: %s", err, out)
	}
	seen := map[string]int{}
	functions := map[string]func(line int) string{}
	for _, m := range regexp.MustCompile(`(?m)^\./([a-z_]+\.go):(\d+):\d+: Found Is(?:Slice)?InBounds`).FindAllStringSubmatch(string(out), -1) {
		file := m[1]
		if file == "calls.go" {
			seen[file]++
			continue
		}
		if functions[file] == nil {
			functions[file] = functionsOf(t, file)
		}
		line, _ := strconv.Atoi(m[2])
		seen[file+" "+functions[file](line)]++
	}
	if len(seen) == 0 {
		t.Fatalf("the compiler says nothing: %s", out)
	}
	if !maps.Equal(seen, allowed) {
		t.Errorf("bounds are checked in\n%v\nallowed is\n%v", seen, allowed)
	}
}

// functionsOf names the function of a line.
func functionsOf(t *testing.T, file string) func(int) string {
	t.Helper()
	set := token.NewFileSet()
	f, err := parser.ParseFile(set, file, nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	return func(line int) string {
		for _, d := range f.Decls {
			fn, ok := d.(*ast.FuncDecl)
			if !ok || line < set.Position(fn.Pos()).Line || line > set.Position(fn.End()).Line {
				continue
			}
			if fn.Recv == nil {
				return fn.Name.Name
			}
			of := fn.Recv.List[0].Type
			if star, ok := of.(*ast.StarExpr); ok {
				return fmt.Sprintf("(*%s).%s", star.X.(*ast.Ident).Name, fn.Name.Name)
			}
			return of.(*ast.Ident).Name + "." + fn.Name.Name
		}
		return strconv.Itoa(line)
	}
}
