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
options. It is applied to the packet with its Ethernet header. Where the skb has
none, because it is not built yet or the device has none (tun, wireguard), netcap
supplies one with the right type and without addresses. Primitives that need
what is not in the packet (inbound, outbound, gateway, ip6 protochain) are
refused. "len", "greater" and "less" see the length of the whole packet.

A packet is captured as far as it lies in the linear part of its skb. The rest
of TCP payload is mostly not there: it is cut, as with a snaplen, and the length
of the packet is still right. A hit at which the skb has neither a link nor a
network header is counted as lost, with that cause.

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
  netcap skb -f ip_rcv@1 -w - | tshark -r -
  netcap skb -f ip_rcv@1 -e "host 10.227.0.45" --dry-run`

const doctorLong = `Say what this kernel and this machine can do for netcap: whether functions and
tracepoints can be probed, packets shown and expressions compiled, and what to
do where they cannot.

Every feature is tried out, with programs that do nothing and are gone before
the next line. Exit status 1 if functions cannot be probed here.`
