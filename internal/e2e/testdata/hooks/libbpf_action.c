#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_endian.h>

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 64);
	__type(key, u32);
	__type(value, u64);
} seen SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4096);
} out SEC(".maps");

u64 calls;
const volatile u32 step = 2;
static char text[8] = "global";

enum side { LEFT = 1, RIGHT = 2 };

struct xcap_user_extend {
	u64 count;
	u64 twice;
	enum side side;
	bool yes;
	char text[8];
	u8 bytes[4];
	struct {
		u16 port;
		s8 low : 3;
		unsigned high : 5;
	} inner;
	__be32 source; // format: %ip4
	u64 took; // format: %ns
	u16 odd[3];
};

static __noinline u64 count_up(u32 key)
{
	u64 one = 1, *n = bpf_map_lookup_elem(&seen, &key);

	if (!n) {
		bpf_map_update_elem(&seen, &key, &one, BPF_ANY);
		return 1;
	}
	__sync_fetch_and_add(n, 1);
	return *n;
}

int xcap_user_action(void *ctx, void *pkt, u32 pkt_len, struct xcap_user_extend *user, u16 trace_index)
{
	struct sk_buff *skb = pkt;
	struct iphdr *ip = (struct iphdr *)(BPF_CORE_READ(skb, head) + BPF_CORE_READ(skb, network_header));
	u32 *place;

	user->count = count_up(7);
	__sync_fetch_and_add(&calls, 1);
	user->twice = calls * step;
	user->side = RIGHT;
	user->yes = bpf_core_field_exists(skb->len);
	__builtin_memcpy(user->text, text, 8);
	user->bytes[0] = 0xde;
	user->bytes[3] = 0xad;
	user->inner.port = bpf_ntohs(0x5000);
	user->inner.low = -2;
	user->inner.high = 21;
	user->source = ip->saddr;
	user->took = 1500;
	for (int i = 0; i < 3; i++)
		user->odd[i] = 2 * i + 1;
	place = bpf_ringbuf_reserve(&out, sizeof(*place), 0);
	if (place) {
		*place = skb->len;
		bpf_ringbuf_discard(place, 0);
	}
	return 1;
}
