package e2e

import (
	"path/filepath"
	"strings"
	"testing"
)

// TestMainJob does what netcap is for: packets at a function as text, packets
// at a tracepoint into a file.
func TestMainJob(t *testing.T) {
	t.Run("text", func(t *testing.T) {
		p := newPair(t)
		tap := p.watch(t, p.right)
		n := start(t, p.right, "skb", "-f", "icmp_rcv@1", "-i", "eth0", "-e", "host 10.227.0.45", "-t", "-nnv", "-c", "3")
		p.ping(t, 3, right4)
		o := n.wait(0)
		frames := tap.stop()

		requests := chosen(t, frames, "icmp[icmptype] = icmp-echo and dst host 10.227.0.45")
		replies := chosen(t, frames, "icmp[icmptype] = icmp-echoreply and src host 10.227.0.45")
		if len(requests) != 3 || len(replies) != 3 {
			t.Fatalf("%d requests and %d replies on the device", len(requests), len(replies))
		}
		want := shown(t, requests, "-nnv")
		if got := o.out; withoutTimes(got) != withoutTimes(want) {
			t.Errorf("netcap shows:\n%stcpdump shows:\n%s", got, want)
		}
		for i, at := range timesOf(t, o.out, requests[0].time) {
			between(t, "text", requests[i].time, at, replies[i].time)
		}
		if o.written != 3 {
			t.Errorf("%d packets captured", o.written)
		}
		if c := o.probe(t, "icmp_rcv@1"); c.captured < 3 || c.lost != 0 {
			t.Errorf("counts %+v", c)
		}
	})

	t.Run("file", func(t *testing.T) {
		p := newPair(t)
		left, right := p.watch(t, p.left, "-Q", "in"), p.watch(t, p.right, "-Q", "in")
		file := filepath.Join(t.TempDir(), "out.pcap")
		n := start(t, nil, "skb", "-f", "tracepoint:net:netif_receive_skb", "-e", "tcp port 9000", "-c", "10", "-w", file)
		p.talk(t, 9000, false, 5, 5, 5, 5, 5)
		o := n.wait(0)
		if o.written != 10 || o.out != "" {
			t.Errorf("%d packets captured, stdout %q", o.written, o.out)
		}
		onDevices := append(left.stop(), right.stop()...)
		got := readPcap(t, file)
		if len(got) != 10 {
			t.Errorf("%d packets in the file", len(got))
		}
		// Each is on one of the devices; which ten come first depends on nothing
		// but the order of the traffic.
		for _, g := range got {
			if !containsFrame(onDevices, g) {
				t.Errorf("not on the devices: %v", g)
			}
		}
		if n := strings.Count(output(t, "tcpdump", "-nn", "-r", file), "\n"); n != 10 {
			t.Errorf("tcpdump reads %d packets", n)
		}
		if n := strings.Count(output(t, "tshark", "-r", file, "-Y", "tcp.port == 9000", "-T", "fields", "-e", "frame.number"), "\n"); n != 10 {
			t.Errorf("tshark reads %d packets of TCP port 9000", n)
		}
		if info := output(t, "capinfos", "-c", "-M", file); !strings.Contains(info, "Number of packets:   10\n") {
			t.Errorf("capinfos says:\n%s", info)
		}
	})
}

func containsFrame(all []frame, f frame) bool {
	for _, g := range all {
		if f.sameStart(g) {
			return true
		}
	}
	return false
}
