// reserve.c:10: u64 *n = bpf_ringbuf_reserve(&out, 8, 0);: the kernel refuses it: what was reserved is neither submitted nor discarded
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4096);
} out SEC(".maps");

int xcap_user_filter(void *ctx, void *pkt, u16 trace_index)
{
	/* taken */
	u64 *n = bpf_ringbuf_reserve(&out, 8, 0);

	if (!n)
		return 0;
	*n = 1;
	return 1;
}
