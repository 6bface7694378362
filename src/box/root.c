/* SPDX-License-Identifier: Apache-2.0 */
/* Mounts as init makes them, for the rows that build the root; see root.h. Freestanding. */
#include "box/root.h"

#include <linux/fcntl.h>

#ifdef CLEAVE_DEV
/* Development builds: the flags of mounts of this kind, but for those that shall be missing. */
uint64_t root_flags_of(const struct init *s, const char *kind, uint64_t set)
{
	static const struct {
		const char *name;
		uint64_t bit;
	} flags[] = {{".nosuid", MOUNT_ATTR_NOSUID},
		     {".nodev", MOUNT_ATTR_NODEV},
		     {".noexec", MOUNT_ATTR_NOEXEC},
		     {".ro", MOUNT_ATTR_RDONLY},
		     {".private", ROOT_PRIVATE}};
	size_t n = raw_strlen(kind);
	char name[32];

	for (size_t i = 0; i < sizeof(flags) / sizeof(flags[0]); i++) {
		memcpy(name, kind, n);
		memcpy(name + n, flags[i].name, raw_strlen(flags[i].name) + 1);
		if (raw_without(s->plan->test_without, "flag", name))
			set &= ~flags[i].bit;
	}
	return set;
}
#endif

long root_set_attr(int fd, uint64_t set, bool recursive)
{
	/* a mount that the keeper opened is still a peer of the host's: what is mounted there, or
	 * below it here, would show up on the other side */
	struct mount_attr a = {.attr_set = set & ~ROOT_PRIVATE,
			       .propagation = set & ROOT_PRIVATE ? MS_PRIVATE : 0};

	return SYS5(SYS_mount_setattr, fd, "", AT_EMPTY_PATH | (recursive ? AT_RECURSIVE : 0), &a,
		    sizeof(a));
}

long root_new_fs(const char *type, const struct root_fs_option *o, unsigned n, uint64_t attr)
{
	long fs = SYS2(SYS_fsopen, type, FSOPEN_CLOEXEC), r = fs;

	if (fs < 0)
		return fs;
	for (unsigned i = 0; i < n && r >= 0; i++)
		r = SYS5(SYS_fsconfig, fs, o[i].value ? FSCONFIG_SET_STRING : FSCONFIG_SET_FLAG,
			 o[i].key, o[i].value, 0);
	if (r >= 0)
		r = SYS5(SYS_fsconfig, fs, FSCONFIG_CMD_CREATE, 0, 0, 0);
	if (r >= 0)
		r = SYS3(SYS_fsmount, fs, FSMOUNT_CLOEXEC, attr);
	(void)raw_close((int)fs);
	return r;
}

long root_cover_old(int mnt_fd, const char *path)
{
	return SYS5(SYS_move_mount, mnt_fd, "", AT_FDCWD, path, MOVE_MOUNT_F_EMPTY_PATH);
}

long root_attach_to_disk(const struct init *s, int mnt_fd, const char *name)
{
	long r = SYS3(SYS_mkdirat, s->disk_fd, name, 0700);

	return r < 0 ? r
		     : SYS5(SYS_move_mount, mnt_fd, "", s->disk_fd, name, MOVE_MOUNT_F_EMPTY_PATH);
}
