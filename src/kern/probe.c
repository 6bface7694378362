/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The feature table and the probe of every start. Everything here is a handful of calls with
 * arguments that the kernel refuses before it does anything: ENOSYS means absent, any other answer
 * that it is there. See probe.h.
 */
#include "kern/probe.h"
#include "kern/probe_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "raw/landlock.h"
#include "raw/syscall.h"

#define ID_FIRST 0x70000000u
#define ID_LAST 0x7ffeffffu

const struct probe_feature probe_features[PROBE_N] = {
#define F(id, name, since, need, asked, lost, remedy) \
	[PROBE_##id] = {name, since, PROBE_##need, asked, lost, remedy},
#include "kern/probe.def"
#undef F
};

bool probe_test_absent(enum probe_id id)
{
#ifdef CLEAVE_DEV
	const char *list = getenv("CLEAVE_TEST_NO"), *name = probe_features[id].name;
	size_t n = strlen(name);

	for (; list && *list; list += strcspn(list, ","), list += *list == ',')
		if (strcspn(list, ",") == n && memcmp(list, name, n) == 0)
			return true;
#else
	(void)id;
#endif
	return false;
}

uint32_t probe_kernel_parse(const char *release)
{
	char *end;
	unsigned long major = strtoul(release, &end, 10), minor;

	if (end == release || *end != '.' || major > 0xffff)
		return 0;
	release = end + 1;
	minor = strtoul(release, &end, 10);
	return end == release || minor > 0xffff ? 0 : PROBE_KERNEL(major, minor);
}

/* 0, or the errno that says that the call does not exist. Nothing else is a refusal here: without
 * privilege the mount calls answer EPERM before they look at their arguments. */
static int call_missing(long answer)
{
	return answer == -ENOSYS ? ENOSYS : 0;
}

/* A container that shows its host's /proc: the number of a child of ours is a stranger's there. */
static int proc_is_another_one(void)
{
	char text[16];
	ssize_t n = readlink("/proc/self", text, sizeof(text) - 1);

	if (n < 0)
		return errno;
	text[n] = 0;
	return strtol(text, NULL, 10) == getpid() ? 0 : ESRCH;
}

int probe_call(enum probe_id id)
{
	struct statfs fs;

	switch ((int)id) {
	case PROBE_PROC:
		if (statfs("/proc", &fs))
			return errno;
		return fs.f_type == PROC_SUPER_MAGIC ? 0 : ENOENT;
	case PROBE_PROC_OWN:
		return proc_is_another_one();
	case PROBE_CLONE3:
		return call_missing(SYS2(SYS_clone3, 0, 0));
	case PROBE_PIDFD:
		return call_missing(SYS2(SYS_pidfd_open, -1, 0)) |
		       call_missing(SYS4(SYS_pidfd_send_signal, -1, 0, 0, 0));
	case PROBE_OPENAT2:
		return call_missing(SYS4(SYS_openat2, -1, 0, 0, 0));
	case PROBE_CLOSE_RANGE:
		return call_missing(SYS3(SYS_close_range, 1, 0, 0));
	case PROBE_MOUNT_API:
		return call_missing(SYS2(SYS_fsopen, 0, ~0u)) |
		       call_missing(SYS3(SYS_open_tree, -1, 0, ~0u)) |
		       call_missing(SYS5(SYS_move_mount, -1, 0, -1, 0, ~0u));
	case PROBE_MOUNT_SETATTR:
		return call_missing(SYS5(SYS_mount_setattr, -1, 0, ~0u, 0, 0));
	}
	return 0;
}

/* The whole range that slots are taken from must exist in our own user namespace. */
bool probe_map_covers(const char *map, uint32_t first, uint32_t last)
{
	for (;;) {
		unsigned long field[3] = {0}; /* inside, outside, count */

		for (int i = 0; i < 3; i++) {
			char *end;

			field[i] = strtoul(map, &end, 10);
			if (end == map)
				return false;
			map = end;
		}
		if (field[0] <= first && last - field[0] < field[2])
			return true;
	}
}

int probe_file_read(const char *path, char *buf, size_t size)
{
	AUTO_FD int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n;

	if (fd < 0)
		return -errno;
	n = read(fd, buf, size - 1);
	if (n < 0)
		return -errno;
	buf[n] = 0;
	return (int)n;
}

bool probe_have_id_range(void)
{
	struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
	struct __user_cap_data_struct caps[2] = {{0}};
	const uint32_t needed = 1u << CAP_SETUID | 1u << CAP_SETGID;
	char map[1024];

	if (geteuid() != 0 || probe_test_absent(PROBE_ID_RANGE))
		return false;
	if (SYS2(SYS_capget, &header, caps) < 0 || (caps[0].effective & needed) != needed)
		return false;
	/* nobody gives a container other groups than users: gid_map would cost 5 us to say the same
	 */
	return probe_file_read("/proc/self/uid_map", map, sizeof(map)) > 0 &&
	       probe_map_covers(map, ID_FIRST, ID_LAST);
}

int probe_landlock_abi(void)
{
	long abi = raw_landlock_abi();

	if (abi < 0 || probe_test_absent(PROBE_LANDLOCK))
		return 0;
	if (abi > 5 && probe_test_absent(PROBE_LANDLOCK_SCOPE))
		return 5;
	return (int)abi;
}

static int refuse(enum probe_id id, int code, struct err *e)
{
	const struct probe_feature *f = &probe_features[id];

	err_set(e, ERR_HOST, code, "this host lacks %s, needed for: %s", f->name, f->lost);
	err_hint(e, "%s", f->remedy);
	return code ? -code : -ENOSYS;
}

/* The kernel gives the first one always the same number (PROC_USER_INIT_INO of its sources). */
bool probe_inside_user_ns(void)
{
	struct stat st;

	return stat("/proc/self/ns/user", &st) == 0 && st.st_ino != 0xeffffffdu;
}

int probe_quick(struct probe_quick *ret, struct err *e)
{
	struct utsname u;

	*ret = (struct probe_quick){0};
	if (uname(&u))
		return err_set(e, ERR_HOST, errno, "uname");
	ret->kernel = probe_kernel_parse(u.release);
	if (ret->kernel < PROBE_KERNEL_MIN)
		return refuse(PROBE_KERNEL, ENOSYS, e);
	for (int id = 0; id < PROBE_N; id++) {
		int code = 0;

		if (probe_features[id].need != PROBE_REQUIRED)
			continue;
		code = probe_test_absent(id) ? ENOSYS : probe_call(id);
		if (code)
			return refuse(id, code, e);
	}
	ret->landlock_abi = probe_landlock_abi();
	ret->id_range = probe_have_id_range();
	ret->no_cgroup_ns = probe_inside_user_ns() && !probe_try_cgroup_ns();
	return 0;
}
