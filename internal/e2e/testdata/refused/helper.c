// helper.c:6: return mystery(1);: the kernel refuses it: this kernel does not have the helper
static long (*const mystery)(int) = (void *)900;

int xcap_user_filter(void *ctx, void *pkt, u16 trace_index)
{
	return mystery(1);
}
