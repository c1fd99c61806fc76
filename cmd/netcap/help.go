package main

// The texts of --help, from which the manual pages are made too. Words in
// capitals mean the same everywhere.

const rootLong = `netcap shows packets at any kernel function that takes an skb, where tcpdump
shows them only as they enter or leave a device.

A PROBE is the place: a kernel function with the number of its skb argument
(icmp_rcv@1), or a tracepoint that carries an skb
(tracepoint:net:netif_receive_skb). An EXPRESSION is the packets: the language
of tcpdump, pcap-filter(7). It is compiled into the kernel, so that only packets
which match it leave the kernel. They are shown by tcpdump, or written to a
pcap file.

At the end netcap says what became of every hit of every probe: captured,
rejected, or lost and why.

netcap needs root or CAP_BPF and CAP_PERFMON, and a kernel from 5.10 on with
type information (BTF), as all distributions have it. "netcap doctor" tells what
this machine can do.`

const rootExample = `  netcap skb -f icmp_rcv@1 -i eth0 -e "host 10.227.0.45" -t "-nnv"
  netcap skb -f tracepoint:net:netif_receive_skb -e "tcp port 9000" -c 10 -w out.pcap
  netcap doctor`

const skbLong = `Show packets at kernel functions and tracepoints.

PROBE is one of

    func@N, kprobe:func@N       the kernel function func, whose N-th argument,
                                counted from 1, is a struct sk_buff *
    tracepoint:category:name,   a tracepoint that carries an skb; netcap finds
    tp:category:name            which of its arguments that is

Several are given with commas or with several -f. With more than one, each line
of output starts with the name of its probe.

EXPRESSION is a pcap-filter(7) expression, given by -e or as the words after the
options. It is applied to the whole packet, Ethernet header and VLAN tags
included. Primitives that need what is not in the packet (inbound, outbound,
gateway, ip6 protochain) are refused. "len", "greater" and "less" see the length
of the whole packet.

Headers that do not exist yet at a function are supplied: Ethernet, IP and
transport header, from the socket, its route and what TCP notes in the skb. What
nobody knows yet is zero. --provenance says for each packet what is supplied and
what is unknown, as in [eth=dst ip=sock l4=cb unknown=id]; [skb] is a packet in
which nothing is. An Ethernet header is also supplied where the device has none
(tun, wireguard). A hit at which the skb has neither a header nor a socket is
counted as lost, with that cause.

--inner and --any look for the packet inside of VXLAN, Geneve, GRE, IPIP, SIT and
IP6IP6. --inner has to match as well as EXPRESSION, if there is one; --any takes
its place.

--skb-data and --skb-data-offset N are for functions at which the skb's headers
are not where it says: the packet is what follows skb->data + N, an Ethernet
header first.

-i, --ifname, --netns, --cgroup, --pid, --comm, --uid, --mark and --cpu say where a
packet has to be, and whose; all that are given have to be so. A packet that has no
device yet, or no longer, is judged by that of its route or socket. Where there is
none either it is kept, and counted; --no-device drop leaves it out. --cgroup, --pid,
--comm and --uid ask whose the packet's socket is, not which task the CPU runs. Packets
without a socket are left out, and counted.

The output of tcpdump goes to stdout, everything else to stderr. When all probes
are attached a line "netcap: ready: ..." says so. SIGINT (Ctrl-C), SIGTERM,
SIGHUP, the reader of stdout going away, -c and --duration all end a run the same
way: detach, show what has been captured, print the counts. A second SIGINT or
SIGTERM ends it at once.

Exit status: 0 if the run did what was asked, 1 if something failed, 2 if the
command line is wrong.`

const skbExample = `  netcap skb -f icmp_rcv@1 -i eth0 -e "host 10.227.0.45" -t "-nnv"
  netcap skb -f tracepoint:net:netif_receive_skb -e "tcp port 9000" -c 10 -w out.pcap
  netcap skb -f ip_rcv@1,ip_local_deliver@1 udp port 53
  netcap skb -f tp:skb:kfree_skb -e "tcp port 9000"
  netcap skb -f __tcp_transmit_skb@2 -e "tcp port 9000" --provenance
  netcap skb -f __tcp_transmit_skb@2,tcp_rcv_established@2 --comm curl
  netcap skb -f __dev_queue_xmit@1 --ifname "veth*" --uid 1000
  netcap skb -f __dev_queue_xmit@1 -e "udp port 4789" --inner "host 10.0.0.1"
  netcap skb -f ip_rcv@1 -w - | tshark -r -
  netcap skb -f ip_rcv@1 -e "host 10.227.0.45" --dry-run`

const doctorLong = `Say what this kernel and this machine can do for netcap: whether functions and
tracepoints can be probed, packets shown and expressions compiled, and what to
do where they cannot.

Every feature is tried out, with programs that do nothing and are gone before
the next line. Exit status 1 if functions cannot be probed here.`
