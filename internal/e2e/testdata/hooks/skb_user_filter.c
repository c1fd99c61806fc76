#include <linux/skbuff.h>
int xcap_user_filter(void *ctx, void *pkt, u16 trace_index)
{
	return 1;
}
