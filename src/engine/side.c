/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/side.h"

#include <linux/magic.h>
#include <linux/openat2.h>
#include <stdlib.h>
#include <string.h>
#include <sys/fsuid.h>
#include <sys/syscall.h>
#include <sys/vfs.h>

#include "raw/without.h"

/* From here on ids belong to sandboxes, 65,536 each (box/idmap.c). */
#define FIRST_SLOT 0x70000000u

struct side side_host(void)
{
	return (struct side){.root_fd = AT_FDCWD};
}

int side_inside(struct side *ret, int root_fd, uint32_t uid, uint32_t gid, struct err *e)
{
	bool taken;

	*ret = (struct side){.root_fd = root_fd, .inside = true, .uid = uid, .gid = gid};
	ret->become = uid != geteuid() || gid != getegid();
	if (!ret->become)
		return 0;
	side_enter(ret, NULL);
	/* -1 is no id: the call only tells the present one */
	taken = (uint32_t)setfsuid((uid_t)-1) == uid && (uint32_t)setfsgid((gid_t)-1) == gid;
	side_leave(ret);
	if (!taken)
		return err_set(e, ERR_DENIED, EPERM,
			       "act as the owner of the sandbox's files (id %u)", uid);
	return 0;
}

static bool same_sandbox(uint32_t a, uint32_t b)
{
	return a >= FIRST_SLOT && a >> 16 == b >> 16;
}

void side_enter(const struct side *s, const struct stat *owner)
{
	int saved = errno;
	bool other =
		owner && same_sandbox(owner->st_uid, s->uid) && same_sandbox(owner->st_gid, s->gid);

	if (!s->become)
		return;
	setfsgid(other ? owner->st_gid : s->gid);
	setfsuid(other ? owner->st_uid : s->uid);
	errno = saved;
}

void side_leave(const struct side *s)
{
	int saved = errno;

	if (!s->become)
		return;
	setfsuid(geteuid());
	setfsgid(getegid());
	errno = saved;
}

static int open_how(const struct side *s, int dir_fd, const char *name, const struct open_how *how,
		    const struct stat *owner)
{
	int fd;

	side_enter(s, owner);
	fd = (int)syscall(SYS_openat2, dir_fd, name, how, sizeof(*how));
	side_leave(s);
	return fd < 0 ? -errno : fd;
}

/* What keeps an open from waiting or from taking a terminal; O_PATH does neither. */
static uint64_t patient(int flags)
{
	return flags & O_PATH ? 0 : O_NONBLOCK | O_NOCTTY;
}

/* Development builds: links lead where they say, out of the sandbox too. */
static bool wall_down(void)
{
#ifdef CLEAVE_DEV
	const char *list = getenv("CLEAVE_TEST_WITHOUT");

	return list && raw_without(list, "wall", "links");
#else
	return false;
#endif
}

int side_lookup(const struct side *s, const char *path, int flags)
{
	struct open_how how = {
		.flags = (uint64_t)flags | O_CLOEXEC | patient(flags),
		.resolve = (s->inside ? RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS
				      : RESOLVE_NO_SYMLINKS) |
			   (s->strict ? RESOLVE_NO_SYMLINKS : 0),
	};
	int fd = -EAGAIN;

	if (wall_down()) {
		how.resolve = 0;
		path += s->inside && path[0] == '/' && path[1];
	}
	/* openat2(2): with ".." in the path, a rename anywhere on the system means EAGAIN and
	 * another try; a sandbox that renames all the time must not hold us */
	for (int i = 0; i < 128 && fd == -EAGAIN; i++)
		fd = open_how(s, s->root_fd, path, &how, NULL);
	return fd;
}

int side_open(const struct side *s, int dir_fd, const char *name, int flags, mode_t mode,
	      const struct stat *owner)
{
	struct open_how how = {
		.flags = (uint64_t)flags | O_CLOEXEC | O_NOFOLLOW | patient(flags),
		.mode = mode,
		.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS,
	};

	if (!name[0] || strchr(name, '/') || !strcmp(name, ".") || !strcmp(name, ".."))
		return -EINVAL;
	return open_how(s, dir_fd, name, &how, owner);
}

int side_open_below(const struct side *s, int dir_fd, const char *path, int flags)
{
	struct open_how how = {
		.flags = (uint64_t)flags | O_CLOEXEC | O_NOFOLLOW | patient(flags),
		.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS,
	};

	return open_how(s, dir_fd, path, &how, NULL);
}

int side_stat(const struct side *s, int dir_fd, const char *name, struct stat *ret)
{
	int r;

	side_enter(s, NULL);
	r = fstatat(dir_fd, name, ret, AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT);
	side_leave(s);
	return r < 0 ? -errno : 0;
}

bool side_is_kernels(int fd)
{
	static const uint32_t magic[] = {
		PROC_SUPER_MAGIC,    SYSFS_MAGIC,    DEVPTS_SUPER_MAGIC, CGROUP_SUPER_MAGIC,
		CGROUP2_SUPER_MAGIC, DEBUGFS_MAGIC,  TRACEFS_MAGIC,      SECURITYFS_MAGIC,
		BPF_FS_MAGIC,        PSTOREFS_MAGIC,
	};
	struct statfs fs;

	if (fstatfs(fd, &fs) < 0)
		return true;
	for (size_t i = 0; i < ARRAY_LEN(magic); i++)
		if ((uint32_t)fs.f_type == magic[i])
			return true;
	return false;
}
