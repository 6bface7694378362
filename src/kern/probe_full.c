/* SPDX-License-Identifier: Apache-2.0 */
/* Every probe of the table, with what was seen and what mends it here; see probe.h. */
#include "kern/probe_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "kern/subid.h"
#include "raw/landlock.h"
#include "raw/syscall.h"

#ifndef MFD_EXEC
#define MFD_EXEC 0x10U /* 6.3 */
#endif
#define PROBE_PAGEMAP_SCAN_IOCTL _IOC(_IOC_READ | _IOC_WRITE, 'f', 16, 96)

__attribute__((format(printf, 2, 3))) static void say_how(struct probe_answer *a, const char *fmt,
							  ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(a->how, sizeof(a->how), fmt, ap);
	va_end(ap);
}

/* code: 0 present, else the errno of the refusal. Texts that were set before stay. */
static void answer(struct probe *p, enum probe_id id, int code)
{
	const struct probe_feature *f = &probe_features[id];
	struct probe_answer *a = &p->f[id];

	if (probe_test_absent(id)) {
		*a = (struct probe_answer){.how = "switched off for a test"};
		code = ENOSYS;
	}
	a->state = code ? PROBE_ABSENT : PROBE_PRESENT;
	a->code = code;
	if (!code) {
		a->remedy[0] = 0;
		return;
	}
	if (!a->how[0])
		say_how(a, "%s: %s", f->asked, err_symbol(code));
	if (!a->remedy[0])
		snprintf(a->remedy, sizeof(a->remedy), "%s", f->remedy);
}

static void not_asked(struct probe *p, enum probe_id id, const char *why)
{
	if (p->f[id].state == PROBE_UNASKED)
		say_how(&p->f[id], "%s", why);
}

static long read_long(const char *path)
{
	char buf[32];

	return probe_file_read(path, buf, sizeof(buf)) > 0 ? strtol(buf, NULL, 10) : -1;
}

/* The first of those that one clone makes together of which none may be made. */
static bool forbidden_by_number(char *buf, size_t size)
{
	static const char *const names[] = {"user", "pid", "mnt", "uts", "ipc"};

	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		char path[64];

		snprintf(path, sizeof(path), "/proc/sys/user/max_%s_namespaces", names[i]);
		if (read_long(path) == 0) {
			snprintf(buf, size, "sysctl -w user.max_%s_namespaces=15000", names[i]);
			return true;
		}
	}
	return false;
}

/* Ubuntu's: the namespace is made, but its maker has no right in it. */
static bool apparmor_restricts(void)
{
	return geteuid() && read_long("/proc/sys/kernel/apparmor_restrict_unprivileged_userns") > 0;
}

/* For cleave alone where it is installed with its profile, else for every program. */
static const char *allow_by_apparmor(void)
{
	static const char profile[] = CLEAVE_DATADIR "/apparmor";
	char self[sizeof(CLEAVE_INSTALLED) + 1];
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self));

	if (n == sizeof(CLEAVE_INSTALLED) - 1 && !memcmp(self, CLEAVE_INSTALLED, (size_t)n) &&
	    access(profile, R_OK) == 0)
		return "cp " CLEAVE_DATADIR "/apparmor /etc/apparmor.d/cleave && "
		       "apparmor_parser -r /etc/apparmor.d/cleave";
	return "sysctl -w kernel.apparmor_restrict_unprivileged_userns=0";
}

void probe_user_ns_remedy(int code, char *buf, size_t size)
{
	const char *line = "";

	if (forbidden_by_number(buf, size))
		return;
	if (geteuid() && read_long("/proc/sys/kernel/unprivileged_userns_clone") == 0)
		line = "sysctl -w kernel.unprivileged_userns_clone=1";
	else if (apparmor_restricts())
		line = allow_by_apparmor();
	else if (code == ENOSPC)
		line = "sysctl -w user.max_user_namespaces=150000 (or leave a nested sandbox)";
	else if (code == EINVAL || code == ENOSYS)
		line = "boot a kernel with CONFIG_USER_NS";
	else if (code == EPERM || code == EACCES)
		line = "leave the chroot, or let the container that cleave runs in make user "
		       "namespaces (docker, podman: --security-opt seccomp=unconfined)";
	snprintf(buf, size, "%s", line);
}

void probe_hint_user_ns(int code, struct err *e)
{
	char line[256];

	probe_user_ns_remedy(code, line, sizeof(line));
	if (line[0])
		err_hint(e, "%s", line);
}

void probe_hint_powerless(struct err *e)
{
	if (apparmor_restricts())
		err_hint(e, "%s", allow_by_apparmor());
}

static void ask_kernel(struct probe *p)
{
	struct utsname u;

	if (uname(&u) == 0) {
		snprintf(p->release, sizeof(p->release), "%s", u.release);
		p->quick.kernel = probe_kernel_parse(u.release);
	}
	say_how(&p->f[PROBE_KERNEL], "Linux %s", p->release);
	answer(p, PROBE_KERNEL, p->quick.kernel < PROBE_KERNEL_MIN ? ENOSYS : 0);
}

/* Where vm.memfd_noexec is 2 the flag is refused; before 6.3 it is unknown and not needed. */
static int ask_memfd_exec(void)
{
	AUTO_FD int fd = memfd_create("cleave-probe", MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_EXEC);

	if (fd < 0 && errno == EINVAL)
		fd = memfd_create("cleave-probe", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (fd < 0)
		return errno;
	return fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW) ? errno : 0;
}

static int ask_pagemap_scan(void)
{
	uint64_t arg[12] = {sizeof(arg)}; /* an empty range */
	AUTO_FD int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return errno;
	if (ioctl(fd, PROBE_PAGEMAP_SCAN_IOCTL, arg) && errno == ENOTTY)
		return ENOTTY;
	return 0;
}

static void ask_landlock(struct probe *p)
{
	long abi = raw_landlock_abi();
	struct probe_answer *a = &p->f[PROBE_LANDLOCK];

	p->quick.landlock_abi = probe_landlock_abi();
	if (abi > 0)
		say_how(a, "ABI %ld", abi);
	else
		say_how(a, abi == -EOPNOTSUPP ? "built in, but not switched on"
					      : "not in this kernel");
	if (abi != -EOPNOTSUPP)
		snprintf(a->remedy, sizeof(a->remedy),
			 "boot Linux 5.19 or newer with CONFIG_SECURITY_LANDLOCK");
	answer(p, PROBE_LANDLOCK, abi >= RAW_LANDLOCK_ABI_MIN ? 0 : abi < 0 ? (int)-abi : ENOSYS);
	say_how(&p->f[PROBE_LANDLOCK_SCOPE], "ABI %d", p->quick.landlock_abi);
	answer(p, PROBE_LANDLOCK_SCOPE, p->quick.landlock_abi >= 6 ? 0 : ENOSYS);
}

/* What --ids range needs where the caller can't take a slot. */
static void ask_subids(struct probe *p)
{
	struct probe_answer *a = &p->f[PROBE_NEWUIDMAP];
	struct subid uid, gid;
	struct err e = ERR_INIT;

	if (p->quick.id_range) {
		not_asked(p, PROBE_NEWUIDMAP, "--ids range of root needs no help");
		return;
	}
	if (subid_ranges(&uid, &gid, &e) == 0)
		say_how(a, "uids from %u, gids from %u", uid.first, gid.first);
	else
		say_how(a, "%.*s", (int)sizeof(a->how) - 1, e.what);
	snprintf(a->remedy, sizeof(a->remedy), "%.*s", (int)sizeof(a->remedy) - 1, e.hint);
	answer(p, PROBE_NEWUIDMAP, e.id ? ENOENT : 0);
}

static void ask_ids(struct probe *p)
{
	p->quick.id_range = probe_have_id_range();
	if (p->uid)
		say_how(&p->f[PROBE_ID_RANGE], "not root");
	else if (!p->quick.id_range)
		say_how(&p->f[PROBE_ID_RANGE], "root without CAP_SETUID and CAP_SETGID, or in a "
					       "user namespace without the ids from 0x70000000");
	ask_subids(p);
	if (!p->uid && !p->quick.id_range)
		snprintf(p->f[PROBE_ID_RANGE].remedy, sizeof(p->f[PROBE_ID_RANGE].remedy),
			 "run cleave as root of the host, with all capabilities");
	answer(p, PROBE_ID_RANGE, p->quick.id_range ? 0 : EPERM);
	if (!p->quick.id_range)
		not_asked(p, PROBE_IDMAPPED, "only the host's root has a use for it");
	else
		answer(p, PROBE_IDMAPPED, probe_try_idmapped());
}

static void ask_cgroups(struct probe *p)
{
	static const struct {
		enum probe_id id;
		enum cgroup_ctl ctl;
	} rows[] = {{PROBE_CGROUP_MEMORY, CGROUP_MEMORY},
		    {PROBE_CGROUP_PIDS, CGROUP_PIDS},
		    {PROBE_CGROUP_CPU, CGROUP_CPU},
		    {PROBE_FREEZER, CGROUP_FREEZER}};
	struct cgroup_host host;

	ignore_err(cgroup_probe(CGROUP_ALL, &host),
		   "then each controller says why it can't be used");
	p->cgroup = host;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		const struct cgroup_ctl_state *s = &host.ctl[rows[i].ctl];
		struct probe_answer *a = &p->f[rows[i].id];

		if (s->version) {
			say_how(a, "cgroup v%d", s->version);
		} else {
			say_how(a, "%s", s->why_not);
			snprintf(a->remedy, sizeof(a->remedy), "%s", s->hint);
		}
		answer(p, rows[i].id, s->version ? 0 : EOPNOTSUPP);
	}
}

/* Settings explain a refusal better than its errno does. */
static void explain_user_ns(struct probe *p, enum probe_id id, int code)
{
	char *remedy = p->f[id].remedy;

	if (code > 0)
		probe_user_ns_remedy(code, remedy, sizeof(p->f[id].remedy));
}

static int ask_namespaces(struct probe *p)
{
	static const enum probe_id tried[] = {
		PROBE_USER_NS, PROBE_ID_MAP,     PROBE_USER_NS_CAPS, PROBE_MOUNT_NS,  PROBE_PID_NS,
		PROBE_UTS_NS,  PROBE_IPC_NS,     PROBE_NET_NS,       PROBE_CGROUP_NS, PROBE_TMPFS,
		PROBE_DEVPTS,  PROBE_PROC_MOUNT, PROBE_NS_LIMITS,    PROBE_SET_TID,   PROBE_PTRACE,
		PROBE_SECCOMP, PROBE_OVERLAY,
	};
	struct probe_trial *t =
		mmap(NULL, sizeof(*t), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	int r;

	if (t == MAP_FAILED)
		return -errno;
	for (size_t i = 0; i < PROBE_N; i++)
		t->code[i] = PROBE_TRY_UNASKED;
	r = probe_try_namespaces(t);
	explain_user_ns(p, PROBE_USER_NS, t->code[PROBE_USER_NS]);
	explain_user_ns(p, PROBE_USER_NS_CAPS, t->code[PROBE_USER_NS_CAPS]);
	for (size_t i = 0; i < ARRAY_LEN(tried); i++) {
		if (t->code[tried[i]] != PROBE_TRY_UNASKED || probe_test_absent(tried[i]))
			answer(p, tried[i], t->code[tried[i]]);
		else
			not_asked(p, tried[i], "an earlier step of the trial failed");
	}
	if (t->code[PROBE_CGROUP_NS] == ENOSPC && probe_inside_user_ns())
		snprintf(p->f[PROBE_CGROUP_NS].remedy, sizeof(p->f[PROBE_CGROUP_NS].remedy),
			 "start the sandbox around this one as root");
	munmap(t, sizeof(*t));
	return r;
}

int probe_full(struct probe *ret)
{
	static const enum probe_id cheap[] = {PROBE_PROC,      PROBE_PROC_OWN,
					      PROBE_CLONE3,    PROBE_PIDFD,
					      PROBE_OPENAT2,   PROBE_CLOSE_RANGE,
					      PROBE_MOUNT_API, PROBE_MOUNT_SETATTR};

	memset(ret, 0, sizeof(*ret));
	ret->uid = geteuid();
	ask_kernel(ret);
	for (size_t i = 0; i < ARRAY_LEN(cheap); i++)
		answer(ret, cheap[i], probe_call(cheap[i]));
	answer(ret, PROBE_MEMFD_EXEC, ask_memfd_exec());
	answer(ret, PROBE_PAGEMAP_SCAN, ask_pagemap_scan());
	ask_landlock(ret);
	ask_ids(ret);
	ask_cgroups(ret);
	return ask_namespaces(ret);
}
