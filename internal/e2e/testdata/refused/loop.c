// loop.c:7: asm volatile("" : "+r"(x));: the kernel refuses it: the loop has no end that can be seen
int xcap_user_filter(void *ctx, void *pkt, u16 trace_index)
{
	int x = 1;

	for (;;)
		asm volatile("" : "+r"(x));
	return x;
}
