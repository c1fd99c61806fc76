package e2e

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// tap is a tcpdump that captures on a device: what the tests believe.
type tap struct {
	*process
	marker struct { // where it is sent
		ns  *namespace
		dev string
	}
	end time.Time // time of the marker
}

// watch starts a tap on the eth0 of the left or the right host and waits until
// it captures. Options are more options of tcpdump.
func (p *pair) watch(t *testing.T, ns *namespace, options ...string) *tap {
	t.Helper()
	w := ns.watch(t, "eth0", options...)
	w.marker.ns = p.left
	if ns == p.left {
		w.marker.ns = p.right
	}
	return w
}

// watch starts a tap on a device. The marker is sent there too.
func (ns *namespace) watch(t *testing.T, dev string, options ...string) *tap {
	t.Helper()
	words := append([]string{"tcpdump", "-i", dev, "-w", "-", "-U", "--immediate-mode", "-s", "0",
		"--time-stamp-precision", "nano"}, options...)
	w := &tap{process: command{words: words, ns: ns}.start(t)}
	w.marker.ns, w.marker.dev = ns, dev
	w.waitErr("tcpdump listens", has("listening on"))
	return w
}

var droppedLine = regexp.MustCompile(`(?m)^(\d+) packets? dropped by kernel$`)

// stop ends the tap and returns the frames that tests have asked for. To be
// sure that it has seen everything, a marker is sent last, which it has to show.
func (w *tap) stop() []frame {
	w.t.Helper()
	marker := []byte(fmt.Sprintf("netcap marker %d %s", serial.Add(1), strings.Repeat(".", 40)))
	marker = append(append([]byte("\xff\xff\xff\xff\xff\xff\x02\x00\x00\x00\x00\x03"), typeMarker>>8, typeMarker&0xff), marker...)
	w.marker.ns.inject(w.t, w.marker.dev, marker)
	w.waitOut("tcpdump gets the marker", func(data []byte, _ bool) bool { return bytes.Contains(data, marker) })
	w.signal(os.Interrupt)
	w.exit()
	if m := droppedLine.FindStringSubmatch(w.err.String()); w.code() != 0 || m == nil || m[1] != "0" {
		w.fatal("exit code %d, or packets dropped", w.code())
	}
	frames := framesOf(w.t, []byte(w.out.String()))
	for i, f := range frames {
		if bytes.Equal(f.data, marker) {
			w.end = f.time
			frames = frames[:i]
			break
		}
	}
	return keep(frames, asked)
}

// shown is what tcpdump prints for frames.
func shown(t *testing.T, frames []frame, flags ...string) string {
	t.Helper()
	return output(t, append([]string{"tcpdump", "-r", writePcap(t, frames...)}, flags...)...)
}

// chosen is what tcpdump takes of frames by an expression.
func chosen(t *testing.T, frames []frame, expression string) []frame {
	t.Helper()
	path := filepath.Join(t.TempDir(), "chosen.pcap")
	output(t, "tcpdump", "-r", writePcap(t, frames...), "-w", path, "-Z", "root", expression)
	return readPcap(t, path)
}

var timeOfDay = regexp.MustCompile(`(?m)^\d\d:\d\d:\d\d\.\d{6,9} `)

// withoutTimes removes the times at the starts of lines.
func withoutTimes(text string) string { return timeOfDay.ReplaceAllString(text, "") }

// timesOf returns the times at the starts of lines, on the day of another.
func timesOf(t *testing.T, text string, day time.Time) []time.Time {
	t.Helper()
	var all []time.Time
	day = day.Local()
	for _, s := range timeOfDay.FindAllString(text, -1) {
		at, err := time.Parse("15:04:05.999999999 ", s)
		if err != nil {
			t.Fatal(err)
		}
		at = time.Date(day.Year(), day.Month(), day.Day(), at.Hour(), at.Minute(), at.Second(), at.Nanosecond(), time.Local)
		// Midnight may be between the two.
		for _, days := range []int{-1, 1} {
			if other := at.AddDate(0, 0, days); other.Sub(day).Abs() < at.Sub(day).Abs() {
				at = other
			}
		}
		all = append(all, at)
	}
	return all
}

// slack is what times of the same moment may differ by. netcap's are measured
// on the monotonic clock and moved by the distance of the two clocks.
const slack = time.Millisecond

// between fails unless before <= at <= after, with slack on both sides. This
// is how times are compared here: a packet that caused another one cannot be
// later, and that holds however slow the machine is.
func between(t *testing.T, what string, before, at, after time.Time) {
	t.Helper()
	if at.Before(before.Add(-slack)) || at.After(after.Add(slack)) {
		const layout = "2006-01-02 15:04:05.000000000"
		t.Errorf("%s: time %s is not between %s and %s", what, at.Format(layout), before.Format(layout), after.Format(layout))
	}
}
