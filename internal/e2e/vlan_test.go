package e2e

import (
	"strings"
	"testing"
)

// TestVLAN captures tagged frames. The tag is beside the packet where a device
// is to insert it or has taken it off, and in the packet where the device does
// not do that; outside of VLANs in VLANs (QinQ) it is both.
//
//	left                                      right
//	eth0.7.5 10.229.0.1  in eth0.7 (802.1ad)  eth0.7.5 10.229.0.45
//	  eth0.5 10.228.0.1                         eth0.5 10.228.0.45
//	    eth0 10.227.0.1  ====== veth ======       eth0 10.227.0.45
func TestVLAN(t *testing.T) {
	p := newPair(t)
	output(t, "modprobe", "8021q")
	for _, host := range []struct {
		ns   *namespace
		last string
	}{{p.left, "1"}, {p.right, "45"}} {
		for _, link := range []struct{ on, name, what, network string }{
			{"eth0", "eth0.5", "vlan id 5", "10.228.0."},
			{"eth0", "eth0.7", "vlan protocol 802.1ad id 7", ""},
			{"eth0.7", "eth0.7.5", "vlan id 5", "10.229.0."},
		} {
			host.ns.ip(t, "link add link "+link.on+" name "+link.name+" type "+link.what,
				"link set dev "+link.name+" addrgenmode none", "link set dev "+link.name+" up")
			if link.network != "" {
				host.ns.ip(t, "address add "+link.network+host.last+"/24 dev "+link.name)
			}
		}
	}
	const inProbes = "tracepoint:net:netif_receive_skb"
	const outProbes = "__dev_queue_xmit@1,dev_hard_start_xmit@1"
	expressions := []string{"vlan 5 and icmp", "vlan 7 and vlan and ip", "vlan and ip host 10.228.0.45", "vlan 7 and vlan 5 and icmp", "icmp", "(ether proto 0x8100 or ether proto 0x88a8) and greater 100"}
	for _, offload := range []string{"on", "off"} {
		for _, ns := range []*namespace{p.left, p.right} {
			ns.features(t, "eth0", "txvlan", offload, "tx-vlan-stag-hw-insert", offload)
		}
		watch := p.watch(t, p.right)
		var commands []command
		for _, e := range expressions {
			commands = append(commands, command{ns: p.right, words: []string{"skb", "-f", inProbes + "," + outProbes, "-i", "eth0", "--no-device", "drop",
				"--filter-backend", "ebpf", "-t", "-nn -q -e -tt --nano -xx", "-e", e}})
		}
		all := startAll(t, commands...)
		p.ping(t, 2, right4)
		p.ping(t, 2, "10.228.0.45")
		p.ping(t, 2, "10.229.0.45")
		onDevice := watch.stop()
		for i, n := range all {
			o := n.interrupt()
			at := hexFrames(t, o.out)
			want := chosen(t, onDevice, expressions[i])
			what := "offload " + offload + ": " + expressions[i] + " at "
			if len(want) == 0 {
				t.Errorf("%s: nothing on the device", what)
			}
			for _, probe := range strings.Split(inProbes, ",") {
				wholeFrames(t, what+probe, at[probe], keep(want, received))
			}
			for _, probe := range strings.Split(outProbes, ",") {
				name, _, _ := strings.Cut(probe, "@")
				wholeFrames(t, what+probe, at[name], keep(want, sent))
			}
		}
	}
}
