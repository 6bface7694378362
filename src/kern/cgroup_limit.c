/* SPDX-License-Identifier: Apache-2.0 */
/*
 * L2: limits. A value that the kernel did not take is an error that names the controller and the
 * file; nothing is weakened in silence.
 */
#include "kern/cgroup_internal.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/sysinfo.h>
#include <unistd.h>

#define CPU_PERIOD_US 100000u
#define CPU_MIN_MILLI 10u
#define CPU_MAX_MILLI 10000000u
#define CPUS_MAX 4096

static int dir_for(const struct cgroup *cg, enum cgroup_ctl ctl, const struct cgroup_dir **ret,
		   struct err *e)
{
	*ret = cgroup_dir_for(cg, ctl);
	if (*ret)
		return 0;
	return err_set(e, ERR_INTERNAL, EINVAL, "cgroup controller %s was not asked for",
		       cgroup_ctl_name(ctl));
}

static int set_value(const struct cgroup_dir *d, enum cgroup_ctl ctl, const char *file,
		     const char *value, struct err *e)
{
	int r = cgroup_file_write(d->fd, file, value);

	if (r < 0)
		return err_set(e, ERR_LIMIT, -r, "cgroup controller %s: can't write %s to %s/%s",
			       cgroup_ctl_name(ctl), value, d->path, file);
	return 0;
}

static int set_u64(const struct cgroup_dir *d, enum cgroup_ctl ctl, const char *file,
		   uint64_t value, struct err *e)
{
	char text[24];

	snprintf(text, sizeof(text), "%" PRIu64, value);
	return set_value(d, ctl, file, text, e);
}

/* A file that some kernels lack: -ENOENT then, and nothing in *e. */
static int set_if_there(const struct cgroup_dir *d, const char *file, uint64_t value, struct err *e)
{
	char text[24];
	int r;

	snprintf(text, sizeof(text), "%" PRIu64, value);
	r = cgroup_file_write(d->fd, file, text);
	if (r == 0 || r == -ENOENT)
		return r;
	return err_set(e, ERR_LIMIT, -r, "cgroup controller memory: can't write %s to %s/%s", text,
		       d->path, file);
}

/* True unless the kernel says that this host has no swap at all. */
static bool host_has_swap(void)
{
	struct sysinfo s;

	return sysinfo(&s) < 0 || s.totalswap > 0;
}

static int limit_memory_v1(const struct cgroup_dir *d, uint64_t bytes, uint64_t total,
			   struct err *e)
{
	/* The kernel demands memory <= memory+swap at every moment; both start without a bound. */
	int r = set_u64(d, CGROUP_MEMORY, "memory.limit_in_bytes", bytes, e);

	if (r < 0)
		return r;
	/* what sockets of TCP hold is a count of its own, without a bound unless it has one */
	r = set_if_there(d, "memory.kmem.tcp.limit_in_bytes", bytes, e);
	if (r < 0 && r != -ENOENT)
		return r;
	r = set_if_there(d, "memory.memsw.limit_in_bytes", total, e);
	if (r != -ENOENT)
		return r;
	/* swapaccount=0. Swap may also be added later. */
	r = set_value(d, CGROUP_MEMORY, "memory.swappiness", "0", e);
	if (r < 0)
		return r;
	return host_has_swap() ? 1 : 0;
}

static int limit_memory_v2(const struct cgroup_dir *d, uint64_t bytes, uint64_t swap_bytes,
			   struct err *e)
{
	int r = set_u64(d, CGROUP_MEMORY, "memory.max", bytes, e);

	if (r < 0)
		return r;
	r = set_if_there(d, "memory.swap.max", swap_bytes, e);
	if (r != -ENOENT)
		return r;
	return host_has_swap() ? 1 : 0;
}

int cgroup_limit_memory(struct cgroup *cg, uint64_t bytes, uint64_t swap_bytes, struct err *e)
{
	const struct cgroup_dir *d;
	int r = dir_for(cg, CGROUP_MEMORY, &d, e);

	if (r < 0)
		return r;
	if (bytes > INT64_MAX || swap_bytes > INT64_MAX - bytes)
		return err_set(e, ERR_LIMIT, ERANGE, "memory limit %" PRIu64 " is too large",
			       bytes);
	return d->version == 1 ? limit_memory_v1(d, bytes, bytes + swap_bytes, e)
			       : limit_memory_v2(d, bytes, swap_bytes, e);
}

int cgroup_limit_oom_group(struct cgroup *cg, struct err *e)
{
	const struct cgroup_dir *d;
	int r = dir_for(cg, CGROUP_MEMORY, &d, e);

	if (r < 0)
		return r;
	if (d->version == 1)
		return -EOPNOTSUPP;
	return set_value(d, CGROUP_MEMORY, "memory.oom.group", "1", e);
}

int cgroup_limit_pids(struct cgroup *cg, uint64_t max, struct err *e)
{
	const struct cgroup_dir *d;
	int r = dir_for(cg, CGROUP_PIDS, &d, e);

	if (r < 0)
		return r;
	/* The kernel's own bound of a pid; above it pids.max answers EINVAL. */
	if (!max || max > 4u << 20)
		return err_set(e, ERR_LIMIT, ERANGE, "pids limit %" PRIu64 " is not in 1..4194304",
			       max);
	return set_u64(d, CGROUP_PIDS, "pids.max", max, e);
}

int cgroup_limit_cpu(struct cgroup *cg, uint64_t millicpus, struct err *e)
{
	const struct cgroup_dir *d;
	char text[64];
	int r = dir_for(cg, CGROUP_CPU, &d, e);

	if (r < 0)
		return r;
	if (millicpus < CPU_MIN_MILLI || millicpus > CPU_MAX_MILLI)
		return err_set(e, ERR_LIMIT, ERANGE,
			       "cpu limit of %" PRIu64 " thousandths is not in %u..%u", millicpus,
			       CPU_MIN_MILLI, CPU_MAX_MILLI);
	if (d->version == 2) {
		snprintf(text, sizeof(text), "%" PRIu64 " %u", millicpus * (CPU_PERIOD_US / 1000),
			 CPU_PERIOD_US);
		return set_value(d, CGROUP_CPU, "cpu.max", text, e);
	}
	r = set_u64(d, CGROUP_CPU, "cpu.cfs_period_us", CPU_PERIOD_US, e);
	if (r < 0)
		return r;
	return set_u64(d, CGROUP_CPU, "cpu.cfs_quota_us", millicpus * (CPU_PERIOD_US / 1000), e);
}

/* "0-2,5" to bits, in the order of the list. false: it is none, or beyond what we know. */
static bool parse_list(const char *text, uint8_t bits[CPUS_MAX / 8])
{
	memset(bits, 0, CPUS_MAX / 8);
	while (*text >= '0' && *text <= '9') {
		unsigned long from = 0, to;

		while (*text >= '0' && *text <= '9' && from < CPUS_MAX)
			from = from * 10 + (unsigned long)(*text++ - '0');
		to = from;
		if (*text == '-' && *++text)
			for (to = 0; *text >= '0' && *text <= '9' && to < CPUS_MAX; text++)
				to = to * 10 + (unsigned long)(*text - '0');
		if (to >= CPUS_MAX || from > to)
			return false;
		for (; from <= to; from++)
			bits[from / 8] |= (uint8_t)(1u << from % 8);
		text += *text == ',';
	}
	return !*text || *text == '\n';
}

int cgroup_limit_cpuset(struct cgroup *cg, const char *list, struct err *e)
{
	uint8_t asked[CPUS_MAX / 8], have[CPUS_MAX / 8];
	const struct cgroup_dir *d;
	char text[1024] = "";
	int r = dir_for(cg, CGROUP_CPUSET, &d, e);

	if (r < 0)
		return r;
	r = cgroup_file_write(d->fd, "cpuset.cpus", list);
	/* v2 takes any list and runs on others when none of it can be had */
	if (r == 0)
		r = cgroup_file_read(
			d->fd, d->version == 1 ? "cpuset.effective_cpus" : "cpuset.cpus.effective",
			text, sizeof(text));
	if (r >= 0 && parse_list(list, asked) && parse_list(text, have) &&
	    memcmp(asked, have, sizeof(asked)) == 0)
		return 0;
	err_hint(e, "the processors that there are: /sys/devices/system/cpu/online");
	return err_set(e, ERR_LIMIT, r < 0 ? -r : EINVAL, "--cpuset %s: not all of them can be had",
		       list);
}

/* The number of a whole disk that has a medium, "8:0"; false: it is none. */
static bool disk_number(int disks_fd, const char *name, char *ret, size_t size)
{
	char path[300], sectors[32];
	int n;

	snprintf(path, sizeof(path), "%s/size", name);
	n = cgroup_file_read(disks_fd, path, sectors, sizeof(sectors));
	if (n <= 0 || cgroup_parse_u64(sectors) == 0)
		return false;
	snprintf(path, sizeof(path), "%s/dev", name);
	n = cgroup_file_read(disks_fd, path, ret, size);
	if (n <= 0)
		return false;
	ret[strcspn(ret, "\n")] = 0;
	return true;
}

int cgroup_limit_io(struct cgroup *cg, uint64_t bytes, struct err *e)
{
	const struct cgroup_dir *d;
	int r = dir_for(cg, CGROUP_IO, &d, e), fd;
	char number[24], text[96];
	struct dirent *entry;
	DIR *disks;

	if (r < 0)
		return r;
	fd = open("/sys/block", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	disks = fd < 0 ? NULL : fdopendir(fd);
	if (!disks) {
		r = errno;
		close_fd(&fd);
		return err_set(e, ERR_LIMIT, r, "--io: list the disks of /sys/block");
	}
	while (r == 0 && (entry = readdir(disks))) {
		if (entry->d_name[0] == '.' ||
		    !disk_number(dirfd(disks), entry->d_name, number, sizeof(number)))
			continue;
		snprintf(text, sizeof(text), "%s rbps=%" PRIu64 " wbps=%" PRIu64, number, bytes,
			 bytes);
		r = set_value(d, CGROUP_IO, "io.max", text, e);
	}
	closedir(disks);
	return r;
}
