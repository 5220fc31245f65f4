// Programs that nothing is passed over for. The kernel does not run a tracing program
// again on a CPU where it has been interrupted, by an interrupt or, with preemption, by
// another task. So each program here has a twin at the same tracepoint, which does
// its work when it is busy, and nothing otherwise.
#pragma once

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#define MAX_TWINS 2 // programs of one object that are attached

struct twin {
	__u32 busy;     // the program runs on this CPU
	__u32 pad;
	__u64 stood_in; // how often the twin has run for it
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__type(key, __u32);
	__type(value, struct twin);
	__uint(max_entries, MAX_TWINS);
} twins SEC(".maps");

static __always_inline struct twin *twin_at(__u32 index)
{
	return bpf_map_lookup_elem(&twins, &index);
}

// busy is read in the middle of what the compiler sees as one function.
static __always_inline void set_busy(struct twin *t, __u32 busy)
{
	*(volatile __u32 *)&t->busy = busy;
}

// WITH_TWIN defines a program and its twin, which both do their work by calling handle.
#define WITH_TWIN(section, name, index, handle)         \
	SEC(section)                                    \
	int name(__u64 *ctx)                            \
	{                                               \
		struct twin *twin = twin_at(index);     \
                                                        \
		if (!twin)                              \
			return 0;                       \
		set_busy(twin, 1);                      \
		handle(ctx);                            \
		set_busy(twin, 0);                      \
		return 0;                               \
	}                                               \
                                                        \
	SEC(section)                                    \
	int name##_twin(__u64 *ctx)                     \
	{                                               \
		struct twin *twin = twin_at(index);     \
                                                        \
		if (!twin || !twin->busy)               \
			return 0;                       \
		twin->stood_in++;                       \
		handle(ctx);                            \
		return 0;                               \
	}
