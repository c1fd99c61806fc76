package sink

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/google/shlex"
	"github.com/netcap-project/netcap/internal/event"
)

func TestSplitFlags(t *testing.T) {
	record := []*event.Record{record(udpFrame(t, "abc"))}
	for _, tc := range []struct {
		in   string
		want []string
	}{
		{"", nil},
		{"-nn", []string{"-nn"}},
		{"  -nn\t-v ", []string{"-nn", "-v"}},
		{"-nnv", []string{"-nnv"}},
		{"-nnvXX", []string{"-nnvXX"}},
		{"-e -A -tttt -S -q -K", []string{"-e", "-A", "-tttt", "-S", "-q", "-K"}},
		{"-nn -x -xx -X -XX -AA -u -U -N -H -b -a -l", []string{"-nn", "-x", "-xx", "-X", "-XX", "-AA", "-u", "-U", "-N", "-H", "-b", "-a", "-l"}},
		{"-T vxlan", []string{"-T", "vxlan"}},
		{"-nnTvxlan", []string{"-nnTvxlan"}},
		{"-m mib", []string{"-m", "mib"}},
		{"-nn -#", []string{"-nn", "-#"}},
		{"--number --nano", []string{"--number", "--nano"}},
		{"--time-stamp-precision=nano", []string{"--time-stamp-precision=nano"}},
		{"--time-stamp-precision nano --micro --print --packet-buffered", []string{"--time-stamp-precision", "nano", "--micro", "--print", "--packet-buffered"}},
		{"--dont-verify-checksums --absolute-tcp-sequence-numbers", []string{"--dont-verify-checksums", "--absolute-tcp-sequence-numbers"}},
		{`-M 'a "secret" word'`, []string{"-M", `a "secret" word`}},
		{`-M -w`, []string{"-M", "-w"}}, // the value of -M, as for tcpdump
		{`-E "1@10.0.0.1 3des-cbc:$(id)"`, []string{"-E", "1@10.0.0.1 3des-cbc:$(id)"}},
		{`-E 1@10.0.0.1\ des-cbc:x`, []string{"-E", "1@10.0.0.1 des-cbc:x"}},
	} {
		got, err := SplitFlags(tc.in)
		if err != nil || !slices.Equal(got, tc.want) {
			t.Errorf("SplitFlags(%q) = %q, %v; want %q", tc.in, got, err, tc.want)
			continue
		}
		// tcpdump accepts what SplitFlags accepts, and prints the packet.
		if out := oracle(t, record, got...); !strings.Contains(out, "10.0.0.1") {
			t.Errorf("tcpdump %q printed %q", got, out)
		}
	}
}

func TestSplitFlagsRefuses(t *testing.T) {
	for _, tc := range []struct{ in, text, hint string }{
		{"-w x", "-w cannot be used: tcpdump would write files", "-w/--write-file"},
		{"-nnvw x", "-w cannot be used", "-w/--write-file"},
		{"-nnwx", "-w cannot be used", ""},
		{"-nn -c5", "-c cannot be used: it ends tcpdump, not netcap", "-c/--count"},
		{"-c 5", "-c cannot be used", ""},
		{"-r x", "-r cannot be used: tcpdump reads its packets from netcap", ""},
		{"-V x", "-V cannot be used", ""},
		{"-i eth0", "-i cannot be used", "-i/--interface"},
		{"--interface=eth0", "--interface cannot be used", "-i/--interface"},
		{"--interface eth0", "--interface cannot be used", "-i/--interface"},
		{"-z id", "-z cannot be used: it makes tcpdump run a command", ""},
		{"-Z root", "-Z cannot be used", ""},
		{"--relinquish-privileges=root", "--relinquish-privileges cannot be used", ""},
		{"-C 1", "-C cannot be used", ""},
		{"-G 1", "-G cannot be used", ""},
		{"-W 1", "-W cannot be used", ""},
		{"-F x", "-F cannot be used", "-e/--expression"},
		{"-D", "-D cannot be used", ""},
		{"--list-interfaces", "--list-interfaces cannot be used", ""},
		{"-L", "-L cannot be used", ""},
		{"-J", "-J cannot be used", ""},
		{"-d", "-d cannot be used", ""},
		{"-ddd", "-d cannot be used", ""},
		{"-h", "-h cannot be used", ""},
		{"--help", "--help cannot be used", ""},
		{"--version", "--version cannot be used", ""},
		{"--count", "--count cannot be used", ""},
		{"--fp-type", "--fp-type cannot be used", ""},
		{"--immediate-mode", "--immediate-mode cannot be used", ""},
		{"-s 100", "-s cannot be used", "--capture-max-size"},
		{"-y RAW", "-y cannot be used", ""},
		{"-j host", "-j cannot be used", ""},
		{"-I", "-I cannot be used", ""},
		{"-p", "-p cannot be used", ""},
		{"-B 1", "-B cannot be used", ""},
		{"-Q in", "-Q cannot be used", ""},
		{"-O", "-O cannot be used", ""},
		{"-f", "-f cannot be used", ""},
		{"-Y", "-Y cannot be used", ""},
		{"-nn udp", `"udp" is not an option`, "-e/--expression"},
		{"-nn ''", `"" is not an option`, "-e/--expression"},
		{"-nn -- udp", `"--" is not an option`, ""},
		{"-nn -", `"-" is not an option`, ""},
		{"; id", `";" is not an option`, ""},
		{"-nn; id", `-; is not an option of tcpdump that netcap knows`, ""},
		{"-nn:", `-: is not an option`, ""},
		{"-nné", `-é is not an option`, ""},
		{"-k", `-k is not an option`, "tcpdump(8)"},
		{"--inter=x", `--inter is not an option`, "written in full"},
		{"--nano=1", "--nano takes no value", ""},
		{"-T", "-T needs a value", ""},
		{"-nn -nnT", "-T needs a value", ""},
		{"--time-stamp-precision", "--time-stamp-precision needs a value", ""},
		{"-E 'open", "left open", ""},
		{`-nn \`, "left open", ""},
		{"-M a\x00b", "zero byte", ""},
	} {
		got, err := SplitFlags(tc.in)
		var e *Error
		if !errors.As(err, &e) {
			t.Errorf("SplitFlags(%q) = %q, %v; want an *Error", tc.in, got, err)
			continue
		}
		if !strings.HasPrefix(e.Error(), "-t/--tcpdump-flags ") || !strings.Contains(e.Error(), tc.text) || !strings.Contains(e.Hint(), tc.hint) {
			t.Errorf("SplitFlags(%q): error %q, hint %q; want %q and %q in them", tc.in, e.Error(), e.Hint(), tc.text, tc.hint)
		}
	}
}

func TestNumbered(t *testing.T) {
	for in, want := range map[string]bool{"-nn": false, "-nn#v": true, "--number": true, "-M -#": false, "-M#": false, "-T vxlan -#": true} {
		args, err := SplitFlags(in)
		if err != nil {
			t.Fatal(err)
		}
		if got := numbered(args); got != want {
			t.Errorf("numbered(%q) = %v", args, got)
		}
	}
}

// getopt is an independent reading of args as getopt_long(3) has it; it
// returns the letters of the options and whether all else were their values.
func getopt(args []string) (letters string, clean bool) {
	withValue := "BcCEFGijmMQrsTVwWyzZ"
	for len(args) > 0 {
		arg := args[0]
		args = args[1:]
		if len(arg) < 2 || arg[0] != '-' || arg == "--" {
			return letters, false
		}
		if strings.HasPrefix(arg, "--") {
			if arg == "--time-stamp-precision" && len(args) > 0 {
				args = args[1:]
			}
			continue
		}
		for arg = arg[1:]; arg != ""; arg = arg[1:] {
			letters += arg[:1]
			if !strings.Contains(withValue, arg[:1]) {
				continue
			}
			if arg = arg[1:]; arg == "" && len(args) > 0 {
				args = args[1:]
			}
			break
		}
	}
	return letters, true
}

func FuzzSplitFlags(f *testing.F) {
	for _, s := range []string{"-nn", "-nnvw x", "-M -w", "-T vxlan -#", "--time-stamp-precision nano", "--interface=x", `-E "a 'b"`, `\-w x`, "-nn -- x", "''", "-M '' -w x", "# x", "-E\n-w"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		args, err := SplitFlags(s)
		if err != nil {
			var e *Error
			if !errors.As(err, &e) || strings.Contains(e.Error(), "\n") {
				t.Fatalf("error %v", err)
			}
			return
		}
		letters, clean := getopt(args)
		if !clean {
			t.Errorf("%q passes a filter expression: %q", s, args)
		}
		if i := strings.IndexAny(letters, "wrizZCGWFcDLVsyjJIpBQOdhfY"); i >= 0 {
			t.Errorf("%q passes -%c: %q", s, letters[i], args)
		}
		for _, a := range args {
			if strings.HasPrefix(a, "--") && strings.ContainsAny(a, " ;") && !strings.Contains(a, "=") {
				t.Errorf("%q passes %q", s, a)
			}
		}
		if words, err := shlex.Split(s); err != nil || !slices.Equal(words, args) {
			t.Errorf("%q: %q, want the words %q", s, args, words)
		}
	})
}
