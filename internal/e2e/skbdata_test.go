package e2e

import (
	"testing"
)

// TestSkbData starts packets at skb->data and at an offset from there. At
// tcp_v4_rcv data points behind the IP header, and the whole frame lies before.
func TestSkbData(t *testing.T) {
	p := newPair(t)
	tap := p.watch(t, p.right)
	words := func(offset string, more ...string) []string {
		return append([]string{"skb", "-f", "tcp_v4_rcv@1", "-i", "eth0", "--skb-data", "--skb-data-offset", offset, "-w", "-"}, more...)
	}
	all := startAll(t,
		command{ns: p.right, words: words("-34", "-e", "tcp dst port 9000")},
		command{ns: p.right, words: words("-14")},
		command{ns: p.right, words: words("-30000")},
		command{ns: p.right, words: words("30000")},
	)
	p.talk(t, 9000, false, 5, 3000)
	want := keep(tap.stop(), received, func(f frame) bool { return f.is4(protoTCP) })
	if len(want) == 0 {
		t.Fatal("nothing on the device")
	}
	wholeFrames(t, "-34", outcomeFrames(t, all[0]), want)
	// From there on the bytes are the same, and so is the rest of the length.
	var later []frame
	for _, f := range want {
		later = append(later, frame{time: f.time, length: f.length - 20, data: f.data[20:]})
	}
	wholeFrames(t, "-14", outcomeFrames(t, all[1]), later)
	for i, offset := range []string{"-30000", "30000"} {
		o := all[2+i].interrupt()
		c := o.probe(t, "tcp_v4_rcv@1")
		if c.captured != 0 || c.lost != uint64(len(want)) || c.causes["--skb-data-offset points out of the skb's buffer"] != c.lost {
			t.Errorf("offset %s: counts %+v: %d packets came in", offset, c, len(want))
		}
	}
}
