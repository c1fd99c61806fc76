// What congestion control thinks when a segment arrives.
struct xcap_user_extend {
	u32 cwnd; // segments that may be on their way
	u32 ssthresh;
	u32 in_flight;
	u64 srtt; // format: %ns
	u32 retransmitted; // of all segments
};

int xcap_ext_action(void *ext, void *pkt, u32 pkt_len, struct xcap_user_extend *user, u16 trace_index)
{
	struct tcp_sock *tp = ext;

	user->cwnd = tp->snd_cwnd;
	user->ssthresh = tp->snd_ssthresh;
	user->in_flight = tp->packets_out - tp->sacked_out - tp->lost_out + tp->retrans_out;
	user->srtt = (u64)(tp->srtt_us >> 3) * 1000;
	user->retransmitted = tp->total_retrans;
	return 1;
}
