/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
#ifndef NETCAP_FILTER_H
#define NETCAP_FILTER_H

#include "kernel.h"

/* The stub that waits for the user's expression.
 *
 * data      start of the packet's Ethernet header, inside a map value
 * data_end  end of the bytes that may be read, data <= data_end
 * wire_len  length of the whole packet in bytes: what "len", "greater" and
 *           "less" compare with
 *
 * Returns 0 to reject the packet. Go replaces the body (filter.Splice); the
 * asm statement only keeps clang from dropping arguments and call.
 */
#define FILTER_STUB(name)                                                                  \
	static __attribute__((noinline)) __u32 name(const __u8 *data, const __u8 *data_end, \
						    __u32 wire_len)                        \
	{                                                                                  \
		__u32 verdict = 1;                                                         \
                                                                                           \
		asm volatile("" : "+r"(verdict)                                            \
			     : "r"(data), "r"(data_end), "r"(wire_len)                     \
			     : "memory");                                                  \
		return verdict;                                                            \
	}

FILTER_STUB(netcap_filter)

#endif
