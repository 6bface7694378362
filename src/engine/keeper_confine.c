/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The keeper's own walls, taken once its sandbox stands: what it no longer needs is given up before
 * it reads the first word of a client.
 *
 * Capabilities matter where root started it. Over the sandbox it has all of them whatever it gives
 * up, as the owner of the sandbox's user namespace: signals, ptrace and limits need none here. What
 * stays is for files and memory that belong to ids outside of its own user namespace.
 *
 * Landlock is not among the walls: a process in a domain may trace only what is in a domain below
 * its own, and init, which stands in another one, could not be captured any more.
 */
#include <linux/capability.h>
#include <linux/seccomp.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include "base/cleanup.h"
#include "engine/keeper.h"
#include "kern/seccomp.h"
#include "raw/syscall.h"

static const struct {
	unsigned cap;
	const char *why;
} kept[] = {
	{CAP_CHOWN, "a client's pipes and an exec's cgroup are given to ids of the slot"},
	{CAP_DAC_READ_SEARCH, "a capture reads files and /proc of the slot's ids"},
	{CAP_LEASE, "a capture asks who has a file of the slot's ids open for writing"},
	{CAP_CHECKPOINT_RESTORE, "large shared memory is read by /proc/PID/map_files"},
};

static int drop_bounding(uint64_t keep, struct err *e)
{
	for (unsigned cap = 0; cap < 64; cap++) {
		int has = prctl(PR_CAPBSET_READ, cap, 0, 0, 0);

		if (has < 0) /* the kernel's last one is passed */
			return 0;
		if (has && !(keep & UINT64_C(1) << cap) && prctl(PR_CAPBSET_DROP, cap, 0, 0, 0) < 0)
			return err_set(e, ERR_HOST, errno, "give up capability %u", cap);
	}
	return 0;
}

static int drop_capabilities(struct err *e)
{
	struct __user_cap_header_struct head = {_LINUX_CAPABILITY_VERSION_3, 0};
	struct __user_cap_data_struct had[2], sets[2] = {0};
	uint64_t keep = 0;
	int r = 0;

	for (size_t i = 0; i < ARRAY_LEN(kept); i++)
		keep |= UINT64_C(1) << kept[i].cap;
	if (syscall(SYS_capget, &head, had) < 0)
		return err_set(e, ERR_HOST, errno, "read the keeper's capabilities");
	/* without this right there is nothing to gain from the bounding set: an ordinary user */
	if (had[0].effective & 1u << CAP_SETPCAP)
		r = drop_bounding(keep, e);
	if (r < 0)
		return r;
	for (int i = 0; i < 2; i++)
		sets[i].permitted = sets[i].effective =
			had[i].permitted & (uint32_t)(keep >> (32 * i));
	/* the ambient set goes with the inheritable one: security/commoncap.c, cap_capset */
	if (syscall(SYS_capset, &head, sets) < 0)
		return err_set(e, ERR_HOST, errno, "give up the keeper's capabilities");
	return 0;
}

int keeper_confine(struct err *e)
{
	struct seccomp_program p = seccomp_keeper();
	struct sock_fprog prog = {p.len, (struct sock_filter *)p.insns};
	int r = drop_capabilities(e);

	if (r < 0)
		return r;
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return err_set(e, ERR_HOST, errno, "confine the keeper: no_new_privs");
	/* it runs no foreign code, so the processor's speculation stays as it is */
	if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_SPEC_ALLOW, &prog) <
	    0)
		return err_set(e, ERR_HOST, errno, "confine the keeper: seccomp");
	return 0;
}
