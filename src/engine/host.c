/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/host.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "kern/probe.h"
#include "kern/subid.h"

#define PROCESSORS_UNKNOWN 64
#define PROCESSORS_MAX 65536

void host_random_hex(char *out, size_t bytes)
{
	unsigned char raw[64];

	if (bytes > sizeof(raw) || getrandom(raw, bytes, 0) != (ssize_t)bytes)
		abort(); /* a kernel without randomness can't run us */
	for (size_t i = 0; i < bytes; i++)
		snprintf(out + 2 * i, 3, "%02x", raw[i]);
}

static void root_links(struct plan_host *h)
{
	char path[16];

	for (size_t i = 0; i < PLAN_TOPS; i++) {
		ssize_t n;

		snprintf(path, sizeof(path), "/%s", plan_top_names[i]);
		n = readlink(path, h->top[i].text, sizeof(h->top[i].text) - 1);
		/* EINVAL: it is there and no link */
		h->top[i].exists = n > 0 || errno == EINVAL;
		h->top[i].link = n > 0;
		h->top[i].text[n > 0 ? n : 0] = 0;
	}
}

static void cgroup_facts(struct plan_host *h, const struct cgroup_host *cg)
{
	static const struct {
		enum cgroup_ctl ctl;
		size_t at;
	} ctls[] = {
#define AT(f) offsetof(struct plan_host, f)
		{CGROUP_MEMORY, AT(memory)}, {CGROUP_PIDS, AT(pids)},        {CGROUP_CPU, AT(cpus)},
		{CGROUP_CPUSET, AT(cpuset)}, {CGROUP_CPUACCT, AT(cpu_time)}, {CGROUP_IO, AT(io)},
#undef AT
	};

	for (size_t i = 0; i < ARRAY_LEN(ctls); i++) {
		const struct cgroup_ctl_state *from = &cg->ctl[ctls[i].ctl];

		*(struct plan_ctl *)((char *)h + ctls[i].at) =
			(struct plan_ctl){from->version, from->why_not, from->hint};
	}
}

/* All that are online, not those that we may use: what is inside may choose among all of them. */
uint32_t host_processors(void)
{
	char text[256];
	AUTO_FD int fd = open("/sys/devices/system/cpu/online", O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
	unsigned long last = 0;
	char *at;

	if (n <= 0) /* too many only makes us look more often */
		return PROCESSORS_UNKNOWN;
	text[n] = 0;
	for (at = text; *at >= '0' && *at <= '9'; at += *at == '-' || *at == ',')
		last = strtoul(at, &at, 10); /* "0-3,6": the highest is at least as many */
	return last < PROCESSORS_MAX ? (uint32_t)last + 1 : PROCESSORS_MAX;
}

#ifdef CLEAVE_DEV
/* CLEAVE_TEST_FAIL=row[:errno], CLEAVE_TEST_STOP=row, CLEAVE_TEST_WITHOUT: raw/without.h. */
static void test_facts(struct plan_host *h)
{
	static char row[32];
	const char *fail = getenv("CLEAVE_TEST_FAIL");

	h->test_stop = getenv("CLEAVE_TEST_STOP");
	h->test_without = getenv("CLEAVE_TEST_WITHOUT");
	if (!fail)
		return;
	snprintf(row, sizeof(row), "%.*s", (int)strcspn(fail, ":"), fail);
	h->test_fail = row;
	h->test_errno = strchr(fail, ':') ? (int)strtol(strchr(fail, ':') + 1, NULL, 10) : EIO;
}
#endif

int host_facts(struct plan_host *ret, struct cgroup_host *ret_cgroups, uint32_t want, struct err *e)
{
	struct rlimit nofile = {1024, 1024};
	struct probe_quick q;
	int r = probe_quick(&q, e);

	*ret = (struct plan_host){.uid = geteuid(), .gid = getegid()};
	*ret_cgroups = (struct cgroup_host){0};
	if (r < 0)
		return r;
	ret->root = q.id_range;
	ret->no_cgroup_ns = q.no_cgroup_ns;
	ret->landlock_abi = (unsigned)q.landlock_abi;
	root_links(ret);
	getrlimit(RLIMIT_NOFILE, &nofile);
	ret->nofile_hard = nofile.rlim_max;
	host_random_hex(ret->machine_id, 16);
	if (want) {
		ignore_err(cgroup_probe(want, ret_cgroups),
			   "every controller says why it can't be used");
		cgroup_facts(ret, ret_cgroups);
	}
#ifdef CLEAVE_DEV
	test_facts(ret);
#endif
	return 0;
}

int host_ids(struct plan_host *h, const struct spec *spec, struct err *e)
{
	struct subid uid, gid;
	int r;

	if (!spec->ids_range || h->root)
		return 0;
	r = subid_ranges(&uid, &gid, e);
	if (r < 0)
		return r;
	h->sub_uid = (struct plan_idmap){0, uid.first, uid.count};
	h->sub_gid = (struct plan_idmap){0, gid.first, gid.count};
	return 0;
}
