/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
#ifndef NETCAP_CONFIG_H
#define NETCAP_CONFIG_H

#include "kernel.h"

/* Constants of a run. Go sets them before the load and the map behind them is
 * frozen, so the verifier knows their values (v5.5, commit a23740ec43ba) and
 * removes the branches that they rule out.
 */

/* bytes of a packet that are captured, at most PACKET_MAX */
volatile const __u32 snaplen = 65535;

/* bytes from the start of the packet that are read before the filter runs */
volatile const __u32 header_bytes = 128;

/* only skbs of this device, by index in its netns; 0: any */
volatile const __u32 scope_ifindex = 0;

/* inode number of the netns that scope_ifindex belongs to */
volatile const __u32 scope_netns = 0;

/* possible CPUs, the stride of the maps */
volatile const __u32 cpus = 1;

/* bytes waiting in the ring buffer from which on the reader is woken at once */
volatile const __u32 wakeup_bytes = 1;

/* Constants of one probe. Every probe has its own copy of the program and of
 * this section.
 */
#define PROBE_CONSTANT volatile const __attribute__((section(".rodata.probe")))

/* position of the probe in the plan */
PROBE_CONSTANT __u32 probe_index = 0;

/* which argument is the skb, from 0 */
PROBE_CONSTANT __u32 probe_arg = 0;

#endif
