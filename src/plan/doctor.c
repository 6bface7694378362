/* SPDX-License-Identifier: Apache-2.0 */
/* Which probes a layer rests on, as a table; see doctor.h. */
#include "plan/doctor.h"

#include <stdio.h>

#define MAX_PROBES 8
/* What every layer rests on, causes before what they bring about. */
#define POWER PROBE_USER_NS_CAPS, PROBE_ID_MAP
#define BASE PROBE_USER_NS, POWER

/* The first probe of a row that was tried and failed decides, else the first that could not be
 * tried; PROBE_N ends the list. */
#define ROW(layer, ...) [LAYER_##layer] = {{__VA_ARGS__, PROBE_N}}
static const struct {
	enum probe_id probes[MAX_PROBES];
} layers[LAYER_N] = {
	/* with it what every launch needs and no other layer stands for */
	ROW(USER_NS, PROBE_KERNEL, PROBE_CLONE3, PROBE_PIDFD, PROBE_CLOSE_RANGE, PROBE_MEMFD_EXEC,
	    PROBE_USER_NS, PROBE_USER_NS_CAPS),
	ROW(IDS, PROBE_PROC, PROBE_PROC_OWN, BASE),
	ROW(PID_NS, BASE, PROBE_PID_NS),
	ROW(MOUNT_NS, BASE, PROBE_MOUNT_NS),
	ROW(UTS_NS, BASE, PROBE_UTS_NS),
	ROW(IPC_NS, BASE, PROBE_IPC_NS),
	ROW(NET_NS, BASE, PROBE_NET_NS),
	ROW(CGROUP_NS, BASE, PROBE_CGROUP_NS),
	ROW(ROOT, PROBE_OPENAT2, PROBE_MOUNT_API, PROBE_MOUNT_SETATTR, PROBE_USER_NS, PROBE_TMPFS,
	    POWER),
	ROW(PROC, PROBE_USER_NS, PROBE_PROC_MOUNT, POWER),
	ROW(DEV, PROBE_USER_NS, PROBE_DEVPTS, POWER),
	ROW(CAPABILITIES, BASE),
	ROW(NO_NEW_PRIVS, PROBE_KERNEL),
	ROW(SECCOMP, PROBE_USER_NS, PROBE_SECCOMP, POWER),
	ROW(LANDLOCK, PROBE_LANDLOCK),
	ROW(ASLR, PROBE_KERNEL),
	ROW(NS_LIMITS, PROBE_USER_NS, PROBE_NS_LIMITS, POWER),
	ROW(RLIMITS, PROBE_KERNEL),
	ROW(CGROUP_MEMORY, PROBE_CGROUP_MEMORY),
	ROW(CGROUP_PIDS, PROBE_CGROUP_PIDS),
	ROW(CGROUP_CPU, PROBE_CGROUP_CPU),
	ROW(FREEZER, PROBE_FREEZER),
	ROW(DISK, PROBE_USER_NS, PROBE_TMPFS, POWER),
};

/* What a present layer looks like on this host. */
static void say_form(const struct probe *p, enum layer_id id, struct result_layer *row)
{
	const char *form = "";

	switch ((int)id) {
	case LAYER_IDS:
		form = p->quick.id_range ? "a slot of 65536 ids" : "one id, the caller's";
		break;
	case LAYER_NET_NS:
		form = "no network but lo";
		break;
	case LAYER_DISK:
		form = "one tmpfs";
		break;
	case LAYER_LANDLOCK:
		form = p->f[PROBE_LANDLOCK].how;
		break;
	case LAYER_CGROUP_MEMORY:
		form = p->f[PROBE_CGROUP_MEMORY].how;
		break;
	case LAYER_CGROUP_PIDS:
		form = p->f[PROBE_CGROUP_PIDS].how;
		break;
	case LAYER_CGROUP_CPU:
		form = p->f[PROBE_CGROUP_CPU].how;
		break;
	case LAYER_FREEZER:
		form = p->f[PROBE_FREEZER].how;
		break;
	}
	snprintf(row->how, sizeof(row->how), "%.*s", (int)sizeof(row->how) - 1, form);
}

static void say_why(const struct probe *p, enum probe_id id, struct result_layer *row)
{
	const struct probe_answer *a = &p->f[id];

	row->state = LAYER_OFF;
	snprintf(row->how, sizeof(row->how), "%.*s", (int)sizeof(row->how) - 1,
		 a->how[0] ? a->how : probe_features[id].name);
	snprintf(row->remedy, sizeof(row->remedy), "%s",
		 a->remedy[0] ? a->remedy : probe_features[id].remedy);
}

static enum probe_id cause(const struct probe *p, const enum probe_id *q)
{
	enum probe_id untried = PROBE_N;

	for (; *q != PROBE_N; q++) {
		if (p->f[*q].state == PROBE_ABSENT)
			return *q;
		if (p->f[*q].state != PROBE_PRESENT && untried == PROBE_N)
			untried = *q;
	}
	return untried;
}

unsigned plan_doctor(const struct probe *p, struct result_layer rows[LAYER_N])
{
	unsigned bad = 0;

	for (int id = 0; id < LAYER_N; id++) {
		enum probe_id why = cause(p, layers[id].probes);

		rows[id] = (struct result_layer){.state = LAYER_ON};
		if (why == PROBE_N) {
			say_form(p, id, &rows[id]);
			continue;
		}
		say_why(p, why, &rows[id]);
		bad++;
	}
	return bad;
}
