package main

// The texts of --help, from which the manual pages are made too. Words in
// capitals mean the same everywhere.

const rootLong = `netcap shows packets at any kernel function that takes an skb, where tcpdump
shows them only as they enter or leave a device.

A PROBE is the place: a kernel function that takes an skb (icmp_rcv), a pattern
or a set of them, or a tracepoint that carries an skb
(tracepoint:net:netif_receive_skb). An EXPRESSION is the packets: the language
of tcpdump, pcap-filter(7). It is compiled into the kernel, so that only packets
which match it leave the kernel. They are shown by tcpdump, or written to files
of pcap, pcapng or JSON.

At the end netcap says what became of every hit of every probe: captured,
rejected, or lost and why.

netcap needs root or CAP_BPF and CAP_PERFMON, and a kernel from 5.10 on with
type information (BTF), as all distributions have it. "netcap doctor" tells what
this machine can do, "netcap list" what can be traced on it.`

const rootExample = `  netcap skb -f icmp_rcv -i eth0 -e "host 10.227.0.45" -t "-nnv"
  netcap skb -f tracepoint:net:netif_receive_skb -e "tcp port 9000" -c 10 -w out.pcap
  netcap list "tcp_*"
  netcap doctor`

const skbLong = `Show packets at kernel functions and tracepoints.

PROBE is one of

    func, kprobe:func           the kernel function func; netcap finds which of
                                its arguments is the packet
    func@N                      it is the N-th, counted from 1
    func@N@M, func@N@           pass argument M, or N+1, on to user C
    module:func                 the one of a module, or of vmlinux
    'tcp_*', '[a-c]?_rcv'       the functions whose names the glob covers
    '/^ip_.*rcv/'               those in whose names RE2 matches
    'module:*'                  those of a module
    all                         all that take a packet, one or two thousand
    rx, tx, drop, forward,      a set of probes along the way of a packet, as
    tcp, udp, icmp, bridge,     far as this kernel has them; "netcap list --sets"
    netfilter, qdisc
    tracepoint:category:name,   a tracepoint that carries an skb; both words may
    tp:category:name            be patterns

Several are given with commas or with several -f. With more than one, each line
of output starts with the name of its probe, unless -o says what it starts with.
-x leaves out again what is too much: -f all -x 'skb_*'.

What a packet hangs on may be a struct sk_buff *, a struct sk_buff **, a struct
sk_buff_head * and, with N or where it is known, a struct list_head * (of both
every skb), or a struct xdp_buff *. Names that kernels have changed are known:
kfree_skb is found where it is called sk_skb_reason_drop.

func%return traces func when it returns, with the packet as it came in and the
value that is returned; func%both also when it is called. --on says it for all
functions.

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

--follow shows a packet from its first match on at every probe, whatever NAT,
tunnels, clones, copies, segmentation or fragmentation make of it, until its data
is freed. Each line then has the number of the packet and why it is shown, as
with -o probe,trail,why: "filter", "same skb", or "clone of", "copy of",
"segment of" or "fragment of" the skb at an address. At most 16384 skbs are
followed at a time; how many found no room is told at the end.

--skb-data and --skb-data-offset N are for functions at which the skb's headers
are not where it says: the packet is what follows skb->data + N, an Ethernet
header first.

-o LIST says what stands before each packet, in the order of LIST:

    probe, cpu         the name of the probe, the processor
    time, mono         date and time; seconds since the machine was started,
                       without the time that it slept (CLOCK_MONOTONIC)
    task, pid,         the task that the processor ran, as comm:pid, and
    tid, comm          (softirq), (hardirq) or (nmi) if that was interrupted:
                       the packet need not be the task's then
    owner, uid         the process to which the socket belongs, its user
    netns, ifname,     inode number of the network namespace, name and index
    ifindex            of the device
    mark, len, caplen  the packet's mark, its length, the bytes captured of it
    skb, head, sock    addresses: the sk_buff, its buffer, which clones have in
                       common, the socket
    why, trail,        of a packet that is followed: why it is shown, its
    parent             number, the sk_buff from which it was followed
    value, extra       what the function has returned, its extra argument
    reason, location   why a packet is dropped, and who has freed it: behind the
                       packet if nothing is said

What nobody knows is "-". "-o none" leaves it all out.

--sample looks at one of N packets, --rate-limit captures so many a second, and
--max-cpu looks at fewer packets when the probes take more than that of one CPU. What
is left out is counted.

--user-filter and --user-action take C of your own: the function xcap_user_filter
returns 0 to reject a packet, xcap_user_action fills in a struct that is shown under
it. --where and --show do the same with expressions of C, in which skb is the packet
and sk its socket. The types of the kernel are known, and clang compiles it; objects
of "netcap hook build" need no clang. See "Your own C" in the README.

-i, --ifname, --netns, --cgroup, --pid, --comm, --uid, --mark and --cpu say where a
packet has to be, and whose; all that are given have to be so. A packet that has no
device yet, or no longer, is judged by that of its route or socket. Where there is
none either it is kept, and counted; --no-device drop leaves it out. --cgroup, --pid,
--comm and --uid ask whose the packet's socket is, not which task the CPU runs. Packets
without a socket are left out, and counted.

--output and -w say where packets go; all that are given get each packet. --output
takes a list of

    tcpdump            what tcpdump prints, with the options of -t; the default
    text               a line each, without tcpdump
    json               an object on a line each, see docs/json.md
    pcap, pcapng       a file for Wireshark, tshark and tcpdump -r

to stdout, or with :FILE behind it to a file, as in --output text,json:out.json.
Only one can have stdout. -w FILE is a pcap file, or pcapng if it ends in .pcapng,
and can be given several times. In pcapng each probe is an interface, with its
expression; each packet has what is known of it in comments; and the counts of
each probe stand at the end.

--rotate-size and --rotate-time begin another file, --rotate-count N removes all
but the last N, and --rotate-compress compresses those that are complete. Files are
called out.0001.pcap, out.0002.pcap, ... for out.pcap, or by the time at which each
was begun if there are conversions of strftime(3) in the name, as in
out-%Y%m%d-%H%M%S.pcap. Each can be read alone. --min-free ends the run before the
disk is full. What a crash costs is what came in the last half second.

Packets go to stdout, everything else to stderr. When all probes
are attached a line "netcap: ready: ..." says so. SIGINT (Ctrl-C), SIGTERM,
SIGQUIT, SIGHUP, the reader of stdout going away, -c and --duration all end a run the same
way: detach, show what has been captured, print the counts. A second SIGINT or
SIGTERM ends it at once.

Exit status: 0 if the run did what was asked, 1 if something failed, 2 if the
command line is wrong.`

const skbExample = `  netcap skb -f icmp_rcv -i eth0 -e "host 10.227.0.45" -t "-nnv"
  netcap skb -f tracepoint:net:netif_receive_skb -e "tcp port 9000" -c 10 -w out.pcap
  netcap skb -f ip_rcv,ip_local_deliver udp port 53
  netcap skb -f rx,tx -x 'ip6_*,ipv6_*' -e "host 10.227.0.45 and icmp"
  netcap skb -f tp:skb:kfree_skb -e "tcp port 9000" -o time,cpu,task,owner
  netcap skb -f __tcp_transmit_skb -e "tcp port 9000" --provenance
  netcap skb -f __tcp_transmit_skb,tcp_rcv_established --comm curl
  netcap skb -f __dev_queue_xmit --ifname "veth*" --uid 1000
  netcap skb -f __dev_queue_xmit -e "udp port 4789" --inner "host 10.0.0.1"
  netcap skb --follow -f ip_output,ip_rcv,icmp_rcv -e "icmp and dst host 10.2.0.99"
  netcap skb -f ip_rcv -w - --format pcapng | tshark -r -
  netcap skb -f tp:skb:kfree_skb --output json -q | jq .src
  netcap skb -f tp:skb:kfree_skb -w drops.pcapng --rotate-size 100M --rotate-count 24
  netcap skb -f ip_rcv -e "host 10.227.0.45" --dry-run
  netcap skb -f tcp_rcv_established -e "tcp port 8888" --show "skb->mark, tcp_sk(sk)->snd_cwnd"`

const dropsLong = `Show where the kernel drops packets, and why.

Drops are counted in the kernel, so that a storm of them costs little: by the place
(the function that frees the packet), the reason that the kernel gives (Linux 5.17 and
later), protocol and destination port, device, and what has dropped them. EXPRESSION and
the options of "netcap skb" that say where a packet has to be, and whose, narrow it.

A table is printed every second: packets per second since the table before, all so far,
reason, place, protocol and port (of ICMP type and code), device (with @ and the network
namespace if it is another one) and the last packet. Behind a row stands, where it
matters and is known:

    nftables: table, chain and rule, or the policy of the chain, also those of
              iptables-nft; iptables (legacy): table and chain
    qdisc:    its kind, the device, and how many packets are in it
    socket:   whose it is, the state of TCP, how full its queue is

The end is a table of the whole run, where rates are those of the whole run, and in plain
words what each reason usually means and what to look at next; -v says it with each row.
Behind that stand counters of the kernel that have changed and that no function sees which
takes a packet: those of devices (ip -s link, ethtool -S), softnet_stat, and snmp, snmp6 and
netstat of /proc/net.

The kernel frees some packets in the same way that are no drops: what it has used up, what
is left in the queue of a socket that is closed. They are counted and not shown; -v and
--json show them.

--once prints one table at the end. --json prints an object per line, with
the key "type": "row" for a row, "others" for packets that found no room in one,
"counter" for a counter that has changed. "drop" is false in a row of packets that are no
drops.

On a terminal the table stays in place: up and down mark a row, enter shows the packets of
its reason and location with their stacks as they come, and enter or q comes back to the
table. There, q and Ctrl-C end the run.

Packets that are no IP, messages between sockets for example, are not counted. At most
16384 rows are kept; what is beyond is counted, and told.

Exit status: 0 if the run did what was asked, 1 if something failed, 2 if the
command line is wrong.`

const dropsExample = `  netcap drops
  netcap drops -e "tcp port 9000"
  netcap drops --once --duration 10s --sort total
  netcap drops --netns blue -v
  netcap drops --once --json | jq -r 'select(.drop) | [.packets, .reason, .location] | @tsv'`

const gatherLong = `Put the packets of several captures together, of several runs or machines, and show for
each when it was where, as --gather of "netcap skb" does for packets as they come.

FILE is pcapng, pcap, or JSON with --json-data, as "netcap skb" writes them. Packets belong
together by what does not change on the way. Each probe of each file is a point, in the
order of the files.

The clocks of machines differ. How far each is from that of the first file is estimated from
packets that are in both: those of one direction say how far it is at most, those of the
other how far at least. It is printed, with its error.

Exit status: 0 if the files were read, 1 if something failed, 2 if the command line is wrong.`

const gatherExample = `  netcap gather client.pcapng server.pcapng
  netcap gather --gather-html way.html client.pcapng router.pcapng server.pcapng
  netcap gather --output json a.pcapng b.pcapng | jq -c 'select(.gather.missing) | [.src, .dst, .gather.missing]'`

const listLong = `List the kernel functions that take a packet, and the tracepoints that carry one,
as far as they can be traced on this kernel with the modules that are loaded.

PATTERN is what -f of "netcap skb" takes, or stands for several of them:

    tcp_v4_rcv                  a function
    tcp_*                       a glob: *, ? and [a-z]; it covers the whole name
    /^ip6?_.*rcv/               a regular expression (RE2), found anywhere in it
    nf_conntrack:*              only those of a module; the kernel image is
                                called vmlinux
    tracepoint:net:*            tracepoints, by category and name
    rx                          a set; --sets lists them

Several are given as several words or with commas. Without any, everything is
listed, functions first.

A line has the probe, as -f takes it; the number of the argument that is the
packet, several with commas if there are several; the backend, which is how
netcap traces it if it is one of a few; and the declaration. A packet is a
struct sk_buff *, a struct sk_buff **, a struct sk_buff_head * or a
struct xdp_buff *. The backend is fentry, kprobe.multi, kprobe or
raw_tracepoint, "none" if the function cannot be traced here, and "-" if that
cannot be tried without privileges. A tracepoint that tracefs does not list has
the category unknown, and can be traced by that.

Which functions can be traced is in tracefs, which only root can read. Without,
those that the kernel has a symbol for are listed.

--json prints an object per line, with the keys probe, kind (function or
tracepoint), symbol, name (the function without what the compiler has added to
its symbol), category (of a tracepoint), module (missing for the kernel image),
packets (a list of objects with number, from 1, and type), backend ("" if not
known) and prototype. With --sets the keys are set, functions and
tracepoints (how many there are here) and text.

Exit status: 0 if something was listed, 1 if there is nothing to list or
something failed, 2 if the command line is wrong.`

const listExample = `  netcap list
  netcap list "tcp_*" "udp_*"
  netcap list "/^ip6?_.*rcv/"
  netcap list --module nf_conntrack
  netcap list "tracepoint:net:*"
  netcap list --hit -e icmp --duration 10s "ip_*" "icmp_*"
  netcap list --json | jq -r 'select(.backend == "fentry") | .probe'`

const doctorLong = `Say what this kernel and this machine can do for netcap: whether functions and
tracepoints can be probed, packets shown and expressions compiled, and what to
do where they cannot.

Every feature is tried out, with programs that do nothing and are gone before
the next line. Exit status 1 if functions cannot be probed here.`

const hookLong = `Build C of your own, so that it runs on machines without a compiler.

A hook is a file of C with a function that netcap calls for each packet:
xcap_user_filter decides whether it is shown, xcap_user_action finds something
out that is shown with it. --user-filter and --user-action take the file itself
where clang is installed, and objects everywhere.`

const hookBuildLong = `Compile FILE to OBJECT. It takes clang and the types of the running kernel.

OBJECT runs on other kernels as well: places of fields are looked up there
(CO-RE), and a field that a kernel does not have is an error when it is used on
that one. --user-filter and --user-action take it without a compiler.`
