/* SPDX-License-Identifier: Apache-2.0 */
/*
 * L2: directories below those of a sandbox: one for each exec that has limits of its own.
 *
 * v2 does not let a directory have both processes and children with controllers (except `cpuset`
 * and what is built in). So before the first such child everything that runs directly in the
 * sandbox's directory moves to the child `main`. This happens then and not at the launch: most
 * sandboxes never need it. init's cgroup namespace keeps the sandbox's directory as its root, so
 * init sees the new children and may fork into them.
 */
#include "kern/cgroup_internal.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define PROCS_MAX_BYTES (4u << 20)
#define MOVE_TIMEOUT_NS UINT64_C(2000000000)

/* One round over what sits directly in d. Returns how many were there, or a negative errno. */
static int move_listed(const struct cgroup_dir *d, int to_fd)
{
	AUTO_FREE char *list = cgroup_file_slurp(d->fd, "cgroup.procs", PROCS_MAX_BYTES, NULL);
	const char *at = list;
	char text[24];
	int n = 0, r;
	long pid;

	if (!list)
		return -errno;
	while ((pid = cgroup_parse_pid(&at)) >= 0) {
		n++;
		if (pid == 0) /* outside our pid namespace: it can't be named */
			return -EPERM;
		snprintf(text, sizeof(text), "%ld", pid);
		r = cgroup_file_write(to_fd, "cgroup.procs", text);
		/* a number that came free is one of our children's children at worst: the list that
		 * names it is read again */
		if (r < 0 && r != -ESRCH)
			return r;
	}
	return n;
}

/* Moves what sits in d itself to d/main, so that d may hand controllers down. What is forked
 * meanwhile is born in either; none can be born in d once d is empty. */
static int make_room(const struct cgroup_dir *d)
{
	uint64_t deadline_ns = cgroup_now_ns() + MOVE_TIMEOUT_NS;
	AUTO_FD int main_fd = -EBADF;
	unsigned round = 0;
	int r = mkdirat(d->fd, CGROUP_MAIN, 0755) < 0 && errno != EEXIST ? -errno : 0;

	if (r == 0)
		r = cgroup_subdir_open(d->fd, CGROUP_MAIN, &main_fd);
	if (r < 0)
		return r;
	while ((r = move_listed(d, main_fd)) > 0)
		if (!cgroup_wait(-1, deadline_ns, &round))
			return -EBUSY;
	return r;
}

static int hand_down_v2(const struct cgroup_dir *d, uint32_t want)
{
	char text[1024], word[32];
	uint32_t have;
	uint64_t deadline_ns = cgroup_now_ns() + MOVE_TIMEOUT_NS;
	unsigned round = 0;
	int r, n = cgroup_file_read(d->fd, "cgroup.subtree_control", text, sizeof(text));

	if (n < 0)
		return n;
	have = cgroup_parse_ctls(text, (size_t)n);
	if (!(want & ~have & CGROUP_V2_CTLS))
		return 0;
	do {
		r = make_room(d);
		for (int i = 0; i < CGROUP_CTL_N && r >= 0; i++) {
			if (!(want & ~have & CGROUP_V2_CTLS & CGROUP_BIT(i)))
				continue;
			snprintf(word, sizeof(word), "+%s", cgroup_ctl_name(i));
			r = cgroup_file_write(d->fd, "cgroup.subtree_control", word);
		}
		/* EBUSY: one that is about to be dead is no longer listed but still counts */
	} while (r == -EBUSY && cgroup_wait(-1, deadline_ns, &round));
	return r;
}

/* Before 5.11 a v1 memory cgroup bounds what is below it only if it was told to. */
static int check_hierarchy(const struct cgroup_dir *d)
{
	uint64_t v;

	if (d->version != 1 || !(d->ctls & CGROUP_BIT(CGROUP_MEMORY)))
		return 0;
	v = cgroup_file_u64(d->fd, "memory.use_hierarchy");
	return v == 0 ? cgroup_file_write(d->fd, "memory.use_hierarchy", "1") : 0;
}

/* v2 asks whoever forks into a child for the right to write both lists of processes. */
static int give_lists(const struct cgroup_dir *parent, const struct cgroup_dir *sub, uid_t owner)
{
	if (parent->version != 2 || owner == geteuid())
		return 0;
	if (fchownat(parent->fd, "cgroup.procs", owner, (gid_t)-1, AT_SYMLINK_NOFOLLOW) < 0 ||
	    fchownat(sub->fd, "cgroup.procs", owner, (gid_t)-1, AT_SYMLINK_NOFOLLOW) < 0)
		return -errno;
	return 0;
}

static int sub_create(const struct cgroup_dir *parent, const char *name, uint32_t want,
		      uid_t forker, struct cgroup_dir *ret, struct err *e)
{
	int r, n;

	*ret = (struct cgroup_dir){
		.version = parent->version, .ctls = parent->ctls & want, .fd = -EBADF};
	n = snprintf(ret->path, sizeof(ret->path), "%s/%s", parent->path, name);
	if (n < 0 || (size_t)n >= sizeof(ret->path))
		return err_set(e, ERR_LIMIT, ENAMETOOLONG, "cgroup path %.100s... is too long",
			       parent->path);
	r = check_hierarchy(parent);
	if (r == 0 && parent->version == 2)
		r = hand_down_v2(parent, ret->ctls);
	if (r == 0 && mkdirat(parent->fd, name, 0755) < 0)
		r = -errno;
	if (r == 0) {
		r = cgroup_subdir_open(parent->fd, name, &ret->fd);
		if (r < 0)
			ignore_err(unlinkat(parent->fd, name, AT_REMOVEDIR),
				   "the first error counts");
	}
	if (r == 0)
		r = give_lists(parent, ret, forker);
	return r < 0 ? err_set(e, ERR_LIMIT, -r, "can't make cgroup %s", ret->path) : 0;
}

int cgroup_sub_create(const struct cgroup *parent, const char *name, uint32_t want, uid_t forker,
		      struct cgroup *ret, struct err *e)
{
	uint32_t covered = 0;
	int r = 0;

	*ret = CGROUP_INIT;
	for (int i = 0; i < parent->dir_n && r == 0; i++) {
		if (!(parent->dir[i].ctls & want))
			continue;
		covered |= parent->dir[i].ctls & want;
		r = sub_create(&parent->dir[i], name, want, forker, &ret->dir[ret->dir_n], e);
		if (ret->dir[ret->dir_n].fd >= 0)
			ret->dir_n++;
	}
	if (r == 0 && want & ~covered)
		r = err_set(e, ERR_INTERNAL, EINVAL, "cgroup: the sandbox has no controller %#x",
			    want & ~covered);
	if (r < 0) {
		struct err ignored = ERR_INIT;

		ignore_err(cgroup_remove(ret, 0, &ignored), "the first error counts");
	}
	return r;
}

int cgroup_each_sub(const struct cgroup_dir *d, int (*fn)(const struct cgroup_dir *, void *),
		    void *arg)
{
	DIR *dir;
	struct dirent *entry;
	int r = 0, fd = -EBADF;

	if (cgroup_subdir_open(d->fd, ".", &fd) < 0)
		return 0; /* it is going: nothing can be below */
	dir = fdopendir(fd);
	if (!dir) {
		close_fd(&fd);
		return -ENOMEM;
	}
	while (r == 0 && (entry = readdir(dir))) {
		struct cgroup_dir sub = {.version = d->version, .ctls = d->ctls, .fd = -EBADF};
		int n;

		if (entry->d_type != DT_DIR || entry->d_name[0] == '.')
			continue;
		n = snprintf(sub.path, sizeof(sub.path), "%s/%s", d->path, entry->d_name);
		if (n < 0 || (size_t)n >= sizeof(sub.path) ||
		    cgroup_subdir_open(d->fd, entry->d_name, &sub.fd) < 0)
			continue;
		r = fn(&sub, arg);
		close_fd(&sub.fd);
	}
	closedir(dir);
	return r;
}
