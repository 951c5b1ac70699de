/* bpf(2) for the shim: a cgroup v2's device rules, which are an eBPF program. */
#include <errno.h>
#include <linux/bpf.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "shim.h"

#define MOST_ATTACHED 64 /* BPF_CGROUP_MAX_PROGS */

static int bpf(int command, union bpf_attr *attributes)
{
    long result = syscall(SYS_bpf, command, attributes, sizeof *attributes);
    return result < 0 ? -errno : (int)result;
}

/* The kernel gives up checking a program (EAGAIN) when a signal is pending: they all wait until it is loaded. */
static int load(const char *instructions, size_t size)
{
    union bpf_attr attributes;
    sigset_t all, before;
    int result;

    memset(&attributes, 0, sizeof attributes);
    attributes.prog_type = BPF_PROG_TYPE_CGROUP_DEVICE;
    attributes.insns = (uintptr_t)instructions;
    attributes.insn_cnt = (uint32_t)(size / sizeof(struct bpf_insn));
    attributes.license = (uintptr_t)"Apache-2.0";
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    result = bpf(BPF_PROG_LOAD, &attributes);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return result;
}

/* How many programs are attached to the cgroup itself; their ids. */
static int attached(int cgroup, uint32_t ids[MOST_ATTACHED])
{
    union bpf_attr attributes;
    int result;

    memset(&attributes, 0, sizeof attributes);
    attributes.query.target_fd = (uint32_t)cgroup;
    attributes.query.attach_type = BPF_CGROUP_DEVICE;
    attributes.query.prog_ids = (uintptr_t)ids;
    attributes.query.prog_cnt = MOST_ATTACHED;
    result = bpf(BPF_PROG_QUERY, &attributes);
    return result < 0 ? result : (int)attributes.query.prog_cnt;
}

static int by_id(uint32_t id)
{
    union bpf_attr attributes;

    memset(&attributes, 0, sizeof attributes);
    attributes.prog_id = id;
    return bpf(BPF_PROG_GET_FD_BY_ID, &attributes);
}

/* All that are attached must allow an access, so that a second one is attached beside the first
 * without a moment in which neither holds. */
static int attach(int cgroup, int program, int replaced)
{
    union bpf_attr attributes;

    memset(&attributes, 0, sizeof attributes);
    attributes.target_fd = (uint32_t)cgroup;
    attributes.attach_bpf_fd = (uint32_t)program;
    attributes.attach_type = BPF_CGROUP_DEVICE;
    attributes.attach_flags = BPF_F_ALLOW_MULTI;
    if (replaced >= 0) {
        attributes.attach_flags |= BPF_F_REPLACE;
        attributes.replace_bpf_fd = (uint32_t)replaced;
    }
    return bpf(BPF_PROG_ATTACH, &attributes);
}

static int detach(int cgroup, uint32_t id)
{
    union bpf_attr attributes;
    int result, program = by_id(id);

    if (program < 0)
        return program;
    memset(&attributes, 0, sizeof attributes);
    attributes.target_fd = (uint32_t)cgroup;
    attributes.attach_bpf_fd = (uint32_t)program;
    attributes.attach_type = BPF_CGROUP_DEVICE;
    result = bpf(BPF_PROG_DETACH, &attributes);
    close(program);
    return result;
}

/* The new program takes the place of the first that is there. */
static int put(int cgroup, const char *instructions, size_t size, const uint32_t *first)
{
    int result, replaced = -1, program = load(instructions, size);

    if (program < 0)
        return program;
    if (first)
        replaced = by_id(*first);
    result = attach(cgroup, program, replaced);
    if (replaced >= 0)
        close(replaced);
    close(program);
    return result;
}

int shim_set_device_filter(int cgroup, const char *instructions, size_t size)
{
    uint32_t ids[MOST_ATTACHED];
    int result = 0, kept = 0, count = attached(cgroup, ids);

    if (count < 0)
        return count;
    if (size > 0) {
        result = put(cgroup, instructions, size, count > 0 ? ids : NULL);
        kept = 1;
    }
    for (int i = kept; i < count && result >= 0; i++)
        result = detach(cgroup, ids[i]);
    return result < 0 ? result : 0;
}
