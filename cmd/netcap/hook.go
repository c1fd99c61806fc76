package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/netcap-project/netcap/extensions"
	"github.com/netcap-project/netcap/filter"
	"github.com/netcap-project/netcap/internal/kernel"
	"github.com/netcap-project/netcap/internal/plan"
	"github.com/netcap-project/netcap/internal/prog"
	"github.com/netcap-project/netcap/internal/session"
	"github.com/netcap-project/netcap/internal/sink"
)

// hookOptions is the part of the command line that brings C of the user's own.
type hookOptions struct {
	filter, action string
	where, show    string
	color          string
	allowUnsafe    bool

	// loaded are those of the run, nil for none.
	loaded struct{ filter, action *extensions.Hook }
	// programs are those that they were put into last.
	programs map[string]*ebpf.ProgramSpec
}

// addHookFilterFlags adds the flags of filters.
func (h *hookOptions) addHookFilterFlags(f *pflag.FlagSet) {
	f.StringVar(&h.filter, "user-filter", "", "show packets that the C function xcap_user_filter in `FILE` wants (also --ext-filter)")
	f.StringVar(&h.where, "where", "", "show packets for which the `EXPRESSION` of C is not zero, as in 'skb->mark == 5'")
	f.BoolVar(&h.allowUnsafe, "allow-unsafe-helpers", false, "let C of your own call helpers that change packets or tasks")
}

// addHookFlags adds those of actions as well.
func (h *hookOptions) addHookFlags(f *pflag.FlagSet) {
	h.addHookFilterFlags(f)
	f.StringVar(&h.action, "user-action", "", "show with each packet what the C function xcap_user_action in `FILE` finds out (also --ext-action)")
	f.StringVar(&h.show, "show", "", "show with each packet the values of the `LIST` of C expressions, as in 'skb->mark:0x%x, skb->dev->name'")
	f.StringVar(&h.color, "user-output-color", "", "the `COLOR` of what --user-action and --show find out: "+strings.Join(sink.Colors(), ", ")+" or none (default green on a terminal; also --ext-output-color)")
}

// hookFlagName is the name of a flag of the original's later versions today.
func hookFlagName(name string) string {
	switch name {
	case "ext-filter", "ext-action", "ext-output-color":
		return "user" + strings.TrimPrefix(name, "ext")
	}
	return name
}

// acts tells whether something is to be found out.
func (h *hookOptions) acts() bool { return h.action != "" || h.show != "" }

// complete refuses what does not go together.
func (h *hookOptions) complete(f *pflag.FlagSet) error {
	for _, name := range []string{"user-filter", "user-action", "where", "show"} {
		if flag := f.Lookup(name); flag != nil && flag.Changed && strings.TrimSpace(flag.Value.String()) == "" {
			return &usageError{"--" + name + ": the value is empty", map[bool]string{true: "name a file of C, or of netcap hook build", false: "see \"Your own C\" in the README"}[strings.HasPrefix(name, "user")]}
		}
	}
	switch {
	case h.filter != "" && h.where != "":
		return &usageError{"--user-filter and --where both decide", "put the expression into the file"}
	case h.action != "" && h.show != "":
		return &usageError{"--user-action and --show both say what is shown", "leave out one of the two, or put the expressions into the file"}
	case h.color != "" && h.color != colorNone && !slices.Contains(sink.Colors(), h.color):
		return &usageError{fmt.Sprintf("--user-output-color %q: there is no such colour", h.color), "use " + strings.Join(sink.Colors(), ", ") + " or " + colorNone}
	case h.color != "" && !h.acts():
		return &usageError{"--user-output-color is of what --user-action and --show find out, and neither is given", "add one of them, or leave it out"}
	case h.allowUnsafe && h.filter == "" && h.action == "" && h.where == "" && h.show == "":
		return &usageError{"--allow-unsafe-helpers is for C of your own, and there is none", "leave it out"}
	}
	return nil
}

// prepare compiles and loads what the command line names, and asks for a place for it.
func (h *hookOptions) prepare(ctx context.Context, system *kernel.System, request *plan.Request, tell func(format string, a ...any)) error {
	slow := time.AfterFunc(patience, func() { tell("preparing your C") })
	defer slow.Stop()
	var err error
	if h.loaded.filter, err = h.load(ctx, system, "--user-filter", h.filter, h.where, extensions.Filter); err != nil {
		return err
	}
	if h.loaded.action, err = h.load(ctx, system, "--user-action", h.action, h.show, extensions.Action); err != nil {
		return err
	}
	request.UserFilter = h.loaded.filter != nil
	if a := h.loaded.action; a != nil {
		request.UserAction, request.ResultSize = true, a.Layout.Size
	}
	return nil
}

// load makes the hook of a file or an expression, nil if neither is given.
func (h *hookOptions) load(ctx context.Context, system *kernel.System, option, path, expression string, kind extensions.Kind) (*extensions.Hook, error) {
	place := prog.FilterPlace()
	if kind == extensions.Action {
		place = prog.ActionPlace()
	}
	var object *extensions.Object
	var err error
	switch {
	case path != "":
		object, err = objectOf(ctx, system, option, path, kind)
	case expression != "":
		var source *extensions.Source
		if kind == extensions.Filter {
			source, err = extensions.NewWhere(expression)
		} else {
			source, err = extensions.NewShow(expression)
		}
		if err == nil {
			object, err = compileHook(ctx, system, source)
		}
	default:
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if object.Kind != kind {
		return nil, &usageError{fmt.Sprintf("%s %q: it is a hook for --user-%s", option, path, object.Kind), fmt.Sprintf("use --user-%s %s", object.Kind, path)}
	}
	types, err := typesOf(system)
	if err != nil {
		return nil, err
	}
	return extensions.Load(object, place, extensions.LoadOptions{Types: types, AllowUnsafe: h.allowUnsafe})
}

// typesOf are the types of the running kernel.
func typesOf(system *kernel.System) (extensions.Types, error) {
	spec, err := system.BTF().Kernel()
	if err != nil {
		return extensions.Types{}, &runError{fmt.Errorf("read the kernel's types: %w", err), "see netcap doctor"}
	}
	return extensions.Types{Kernel: spec, Modules: func() ([]*btf.Spec, error) {
		names, err := system.BTF().Modules()
		if err != nil {
			return nil, err
		}
		var specs []*btf.Spec
		for _, name := range names {
			if module, err := system.BTF().Module(name); err == nil {
				specs = append(specs, module)
			}
		}
		return specs, nil
	}}, nil
}

// readHook reads a file that the user has named by option.
func readHook(option, path string) ([]byte, error) {
	fail := func(err error, hint string) ([]byte, error) {
		return nil, &runError{fmt.Errorf("%s %q: %w", option, path, err), hint}
	}
	info, err := os.Stat(path)
	if err != nil {
		var failed *fs.PathError
		if errors.As(err, &failed) {
			err = failed.Err
		}
		return fail(err, "name a file of C, or of netcap hook build")
	}
	if !info.Mode().IsRegular() && info.Mode()&fs.ModeNamedPipe == 0 {
		return fail(errors.New("it is no file"), "name a file of C, or of netcap hook build")
	}
	file, err := os.Open(path)
	if err != nil {
		return fail(err, "")
	}
	defer file.Close()
	const most = 16 << 20 // objects have debug information
	text, err := io.ReadAll(io.LimitReader(file, most))
	if err != nil {
		return fail(err, "")
	}
	return text, nil
}

// objectOf reads a file of C or an object.
func objectOf(ctx context.Context, system *kernel.System, option, path string, kind extensions.Kind) (*extensions.Object, error) {
	text, err := readHook(option, path)
	if err != nil {
		return nil, err
	}
	if extensions.IsObject(text) {
		return extensions.Decode(path, text)
	}
	source, err := extensions.NewSource(path, text, kind)
	if err != nil {
		return nil, err
	}
	return compileHook(ctx, system, source)
}

// compileHook makes an object of a source, or takes the one that it was made before.
func compileHook(ctx context.Context, system *kernel.System, source *extensions.Source) (*extensions.Object, error) {
	clang := filter.FindClang(exec.LookPath)
	key := hookKey(source, clang)
	if object := cachedHook(key); object != nil {
		return object, nil
	}
	types, err := typesOf(system)
	if err != nil {
		return nil, err
	}
	limited, cancel := context.WithTimeout(ctx, clangLimit)
	defer cancel()
	object, err := extensions.Compile(limited, source, extensions.Options{Clang: clang, Types: types})
	if err != nil && limited.Err() != nil && ctx.Err() == nil {
		return nil, &runError{fmt.Errorf("%s did not compile %s within %v", clang, source.Name, clangLimit), "make it simpler, or build it on a faster machine: netcap hook build"}
	}
	if err != nil {
		return nil, err
	}
	keepHook(key, object)
	return object, nil
}

// hookKey names what the object of a source depends on: the source, the compiler, netcap and
// the kernel.
func hookKey(source *extensions.Source, clang string) string {
	hash := sha256.New()
	hash.Write(source.Depends())
	fmt.Fprintf(hash, "%s\n", clang)
	own, _ := os.Executable() // another netcap may compile in another way
	for _, program := range []string{clang, own} {
		if path, err := filepath.EvalSymlinks(program); err == nil {
			if info, err := os.Stat(path); err == nil {
				fmt.Fprintf(hash, "%s %d %d\n", path, info.Size(), info.ModTime().UnixNano())
			}
		}
	}
	notes, _ := os.ReadFile("/sys/kernel/notes") // with the build ID
	hash.Write(notes)
	return hex.EncodeToString(hash.Sum(nil))
}

// hookCache is the directory of objects, "" if there is none that only this user can write
// to.
func hookCache(create bool) string {
	base, err := os.UserCacheDir()
	if err != nil {
		return ""
	}
	dir := filepath.Join(base, "netcap", "hooks")
	if create && os.MkdirAll(dir, 0o700) != nil {
		return ""
	}
	for _, path := range []string{filepath.Dir(dir), dir} {
		if !ours(path) {
			return ""
		}
	}
	return dir
}

// ours tells whether nobody else can change what is at path.
func ours(path string) bool {
	info, err := os.Lstat(path)
	if err != nil || info.Mode()&0o022 != 0 || info.Mode()&fs.ModeSymlink != 0 {
		return false
	}
	stat, is := info.Sys().(*syscall.Stat_t)
	return is && int(stat.Uid) == os.Geteuid()
}

func cachedHook(key string) *extensions.Object {
	dir := hookCache(false)
	if dir == "" {
		return nil
	}
	path := filepath.Join(dir, key+".o")
	if !ours(path) {
		return nil
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return nil
	}
	object, err := extensions.Decode(path, b)
	if err != nil {
		return nil
	}
	return object
}

// keepHook puts an object into the cache. A cache that cannot be written is none.
func keepHook(key string, object *extensions.Object) {
	dir := hookCache(true)
	b, err := object.Encode()
	if dir == "" || err != nil {
		return
	}
	_ = writeWhole(filepath.Join(dir, key+".o"), b)
}

// writeWhole makes a file of b, or none.
func writeWhole(path string, b []byte) (err error) {
	file, err := os.CreateTemp(filepath.Dir(path), ".netcap-*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = os.Remove(file.Name())
		}
	}()
	_, err = file.Write(b)
	if err = errors.Join(err, file.Close()); err != nil {
		return err
	}
	return os.Rename(file.Name(), path)
}

// addTo puts the hooks into what is built of a plan.
func (h *hookOptions) addTo(bodies *prog.Bodies) {
	bodies.UserFilter, bodies.UserAction = h.loaded.filter, h.loaded.action
}

// colorFor is the colour of what actions find out.
func (h *hookOptions) colorFor(terminal bool) string {
	switch {
	case h.color == colorNone:
		return ""
	case h.color == "" && terminal:
		return "green"
	}
	return h.color
}

// failedProgram is where a message names the program that the kernel has refused.
var failedProgram = regexp.MustCompile(`program (\w+): `)

// blame finds the line of the user's C that the kernel has refused, nil if it is none.
func (h *hookOptions) blame(err error) error {
	var refused *ebpf.VerifierError
	match := failedProgram.FindStringSubmatch(err.Error())
	if match == nil || h.programs[match[1]] == nil || !errors.As(err, &refused) {
		return nil
	}
	var hooks []*extensions.Hook
	for _, hook := range []*extensions.Hook{h.loaded.filter, h.loaded.action} {
		if hook != nil {
			hooks = append(hooks, hook)
		}
	}
	if found := extensions.Blame(hooks, h.programs[match[1]].Instructions, refused.Log); found != nil {
		return found
	}
	return nil
}

// printWork says what the hooks have done, as far as that is worth a line.
func (h *hookOptions) printWork(w io.Writer, s *session.Session, verbose bool) error {
	forFilter, forAction, err := s.HookWork()
	if err != nil {
		return err
	}
	for _, one := range []struct {
		hook *extensions.Hook
		work session.HookWork
	}{{h.loaded.filter, forFilter}, {h.loaded.action, forAction}} {
		if one.hook == nil {
			continue
		}
		if verbose && one.work.Runs > 0 {
			fmt.Fprintf(w, "%s: called %s, %d ns each\n", printable(one.hook.Name), plural(one.work.Runs, "time"), one.work.Time.Nanoseconds()/int64(one.work.Runs))
		}
		if one.work.Faults > 0 {
			fmt.Fprintf(w, "%s: %s of memory that is not there gave 0\n", printable(one.hook.Name), plural(one.work.Faults, "read"))
		}
	}
	return nil
}

// newHook makes the command for files of C.
func newHook(io stdio) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "hook",
		Short: "Build C of your own for machines without a compiler",
		Long:  hookLong,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return &usageError{fmt.Sprintf("there is no command \"hook %s\"", args[0]), "to build one: netcap hook build FILE -o hook.o"}
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	var out, kind string
	build := &cobra.Command{
		Use:                   "build FILE -o OBJECT [--kind filter|action]",
		Short:                 "Compile a hook to an object that --user-filter or --user-action takes",
		Long:                  hookBuildLong,
		DisableFlagsInUseLine: true,
		Args:                  cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			return buildHook(cmd.Context(), io, args, out, kind)
		},
	}
	build.Flags().StringVarP(&out, "output", "o", "", "write the object to `OBJECT`")
	build.Flags().StringVar(&kind, "kind", "", "of a file that has both, build the `filter|action`")
	cmd.AddCommand(build)
	return cmd
}

// buildHook is netcap hook build.
func buildHook(ctx context.Context, io stdio, args []string, out, kindName string) error {
	kind := map[string]extensions.Kind{"filter": extensions.Filter, "action": extensions.Action}[kindName]
	switch {
	case len(args) == 0:
		return &usageError{"hook build: there is no file", "netcap hook build FILE -o hook.o"}
	case len(args) > 1:
		return &usageError{fmt.Sprintf("hook build takes one file, %q is too much", args[1]), "netcap hook build FILE -o hook.o"}
	case out == "":
		return &usageError{"hook build: where the object goes is not said", "add -o hook.o"}
	case kindName != "" && kind == 0:
		return &usageError{fmt.Sprintf("--kind %q: it is filter or action", kindName), "leave it out unless the file has both"}
	case filepath.Clean(out) == filepath.Clean(args[0]):
		return &usageError{fmt.Sprintf("hook build: %q is both the file and the object", out), "use two names"}
	}
	text, err := readHook("hook build", args[0])
	if err != nil {
		return err
	}
	if extensions.IsObject(text) {
		return &usageError{fmt.Sprintf("hook build %q: it is an object already", args[0]), "name a file of C"}
	}
	source, err := extensions.NewSource(args[0], text, kind)
	if err != nil {
		return err
	}
	if err := sink.CheckPath("-o", out); err != nil {
		return err
	}
	system := kernel.New()
	object, err := compileHook(ctx, system, source)
	if err != nil {
		return showLog(io, err)
	}
	types, err := typesOf(system)
	if err != nil {
		return err
	}
	place := prog.FilterPlace()
	if object.Kind == extensions.Action {
		place = prog.ActionPlace()
	}
	if _, err := extensions.Load(object, place, extensions.LoadOptions{Types: types, AllowUnsafe: true}); err != nil {
		return err
	}
	b, err := object.Encode()
	if err != nil {
		return err
	}
	if err := writeWhole(out, b); err != nil {
		return &runError{fmt.Errorf("hook build -o %q: %w", out, err), ""}
	}
	fmt.Fprintf(io.err, "netcap: %s: a hook for --user-%s, %d bytes\n", printable(out), object.Kind, len(b))
	return nil
}

// showLog prints what the compiler has said, and returns the error.
func showLog(io stdio, err error) error {
	var hook *extensions.Error
	if errors.As(err, &hook) && strings.Contains(hook.Log, "error:") {
		for line := range strings.Lines(hook.Log) {
			if strings.Contains(line, "-ferror-limit") {
				break
			}
			fmt.Fprintln(io.err, printable(strings.TrimRight(line, "\n")))
		}
	}
	return err
}
