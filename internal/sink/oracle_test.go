package sink

import (
	"bytes"
	"os/exec"
	"testing"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
	"github.com/google/gopacket/pcapgo"
	"github.com/netcap-project/netcap/internal/event"
)

// pcapOf writes records with a writer that is not ours.
func pcapOf(tb testing.TB, records []*event.Record) []byte {
	tb.Helper()
	var b bytes.Buffer
	w := pcapgo.NewWriterNanos(&b)
	if err := w.WriteFileHeader(maxSnaplen, layers.LinkTypeEthernet); err != nil {
		tb.Fatal(err)
	}
	for _, r := range records {
		if err := w.WritePacket(gopacket.CaptureInfo{Timestamp: r.Time, CaptureLength: len(r.Data), Length: r.Len}, r.Data); err != nil {
			tb.Fatal(err)
		}
	}
	return b.Bytes()
}

// oracle is what tcpdump prints for records.
func oracle(tb testing.TB, records []*event.Record, flags ...string) string {
	tb.Helper()
	cmd := exec.Command("tcpdump", append([]string{"-r", "-"}, flags...)...)
	cmd.Stdin = bytes.NewReader(pcapOf(tb, records))
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		tb.Fatalf("tcpdump %v: %v: %s", flags, err, stderr.String())
	}
	return string(out)
}
