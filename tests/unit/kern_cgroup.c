/* SPDX-License-Identifier: Apache-2.0 */
/* The parsers and path rules of kern/cgroup: layouts of real hosts, and hostile bytes. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "kern/cgroup_internal.h"

#define MEM CGROUP_BIT(CGROUP_MEMORY)
#define PIDS CGROUP_BIT(CGROUP_PIDS)
#define CPU CGROUP_BIT(CGROUP_CPU)
#define ACCT CGROUP_BIT(CGROUP_CPUACCT)
#define FRZ CGROUP_BIT(CGROUP_FREEZER)
#define SET CGROUP_BIT(CGROUP_CPUSET)

static int mounts(const char *text, struct cgroup_mount *m)
{
	return cgroup_parse_mountinfo(text, strlen(text), m, CGROUP_MOUNT_MAX);
}

static int own(const struct cgroup_mount *m, const char *self_text, char *ret, size_t size)
{
	char self[CGROUP_PATH_SIZE];
	int r = cgroup_parse_self(self_text, strlen(self_text), m->version == 2 ? 0 : m->ctls, self,
				  sizeof(self));

	return r < 0 ? r : cgroup_parse_own(m, self, ret, size);
}

/* Debian 12: v2 only, a shell in a user's terminal. */
static void test_systemd_v2(void **state)
{
	struct cgroup_mount m[CGROUP_MOUNT_MAX];
	char path[CGROUP_PATH_SIZE];

	(void)state;
	assert_int_equal(
		mounts("22 29 0:20 / /sys rw,nosuid,nodev,noexec,relatime shared:7 - sysfs sysfs "
		       "rw\n"
		       "29 1 254:1 / / rw,relatime shared:1 - ext4 /dev/vda1 rw,errors=remount-ro\n"
		       "27 22 0:24 / /sys/fs/cgroup rw,nosuid,nodev,noexec,relatime shared:9 - "
		       "cgroup2 cgroup2 rw,nsdelegate,memory_recursiveprot\n",
		       m),
		1);
	assert_int_equal(m[0].version, 2);
	assert_false(m[0].read_only);
	assert_string_equal(m[0].point, "/sys/fs/cgroup");
	assert_int_equal(own(m,
			     "0::/user.slice/user-1000.slice/user@1000.service/app.slice/a.scope\n",
			     path, sizeof(path)),
			 0);
	assert_string_equal(path, "/sys/fs/cgroup/user.slice/user-1000.slice/user@1000.service/"
				  "app.slice/a.scope");
	assert_false(cgroup_path_up(path, m[0].point));
}

static const char hybrid_mounts[] =
	"31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755\n"
	"32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime - cgroup cgroup rw,cpu,cpuacct\n"
	"34 31 0:31 / /sys/fs/cgroup/cpuset rw,relatime - cgroup cgroup rw,cpuset\n"
	"35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory\n"
	"37 31 0:34 / /sys/fs/cgroup/freezer ro,relatime - cgroup cgroup rw,freezer\n"
	"39 31 0:36 / /sys/fs/cgroup/pids rw,relatime - cgroup cgroup rw,pids\n"
	"40 31 0:37 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,name=systemd\n"
	"41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n";

static void test_hybrid(void **state)
{
	static const char self[] = "9:name=systemd:/\n8:pids:/\n4:memory:/svc/4d:85\n"
				   "2:cpu,cpuacct:/a b\n0::/\n";
	struct cgroup_mount m[CGROUP_MOUNT_MAX];
	char path[CGROUP_PATH_SIZE];

	(void)state;
	assert_int_equal(mounts(hybrid_mounts, m), 6);
	assert_int_equal(m[0].ctls, CPU | ACCT);
	assert_int_equal(m[1].ctls, SET);
	assert_int_equal(m[2].ctls, MEM);
	assert_int_equal(m[3].ctls, FRZ);
	assert_true(m[3].read_only);
	assert_int_equal(m[5].version, 2);
	assert_int_equal(own(&m[0], self, path, sizeof(path)), 0);
	assert_string_equal(path, "/sys/fs/cgroup/cpu,cpuacct/a b");
	assert_int_equal(own(&m[2], self, path, sizeof(path)), 0);
	assert_string_equal(path, "/sys/fs/cgroup/memory/svc/4d:85");
	assert_int_equal(own(&m[3], self, path, sizeof(path)), -ENOENT);
	assert_int_equal(own(&m[4], self, path, sizeof(path)), 0);
	assert_string_equal(path, "/sys/fs/cgroup/pids");
	assert_int_equal(own(&m[5], self, path, sizeof(path)), 0);
	assert_string_equal(path, "/sys/fs/cgroup/unified");
}

/* A v1 container without a cgroup namespace: the mount shows only the container's part. */
static void test_docker_v1(void **state)
{
	static const char text[] =
		"703 690 0:29 /docker/0123abcd /sys/fs/cgroup/memory ro,nosuid,nodev,noexec,"
		"relatime master:13 - cgroup cgroup rw,memory\n"
		"704 690 0:30 /docker/0123abcd /sys/fs/cgroup/pids ro,nosuid,nodev,noexec,relatime "
		"master:14 - cgroup pids rw,pids\n";
	struct cgroup_mount m[CGROUP_MOUNT_MAX];
	char path[CGROUP_PATH_SIZE];

	(void)state;
	assert_int_equal(mounts(text, m), 2);
	assert_true(m[0].read_only);
	assert_int_equal(own(m, "5:memory:/docker/0123abcd/inner\n", path, sizeof(path)), 0);
	assert_string_equal(path, "/sys/fs/cgroup/memory/inner");
	assert_int_equal(own(m, "5:memory:/docker/0123abcd\n", path, sizeof(path)), 0);
	assert_string_equal(path, "/sys/fs/cgroup/memory");
	/* a sibling whose name only begins alike */
	assert_int_equal(own(m, "5:memory:/docker/0123abcde\n", path, sizeof(path)), -ENOENT);
}

/* A container with a cgroup namespace, and one whose mount comes from outside of it. */
static void test_docker_v2(void **state)
{
	struct cgroup_mount m[CGROUP_MOUNT_MAX];
	char path[CGROUP_PATH_SIZE];

	(void)state;
	assert_int_equal(mounts("811 800 0:27 / /sys/fs/cgroup ro,nosuid,nodev,noexec,relatime - "
				"cgroup2 cgroup rw,nsdelegate\n",
				m),
			 1);
	assert_true(m[0].read_only);
	assert_int_equal(own(m, "0::/\n", path, sizeof(path)), 0);
	assert_string_equal(path, "/sys/fs/cgroup");
	assert_int_equal(
		mounts("811 800 0:27 /../../.. /sys/fs/cgroup rw - cgroup2 cgroup rw\n", m), 1);
	assert_int_equal(own(m, "0::/\n", path, sizeof(path)), -ENOENT);
	assert_int_equal(own(m, "0::/../other\n", path, sizeof(path)), -EINVAL);
	assert_int_equal(own(m, "0::/gone (deleted)\n", path, sizeof(path)), -EINVAL);
}

/* One hierarchy seen twice: the writable mount counts, whichever comes first. */
static void test_same_hierarchy_twice(void **state)
{
	struct cgroup_mount m[CGROUP_MOUNT_MAX];

	(void)state;
	assert_int_equal(
		mounts("1 2 0:3 / /a ro - cgroup2 x rw\n1 2 0:3 / /b rw - cgroup2 x rw\n", m), 1);
	assert_string_equal(m[0].point, "/b");
	assert_int_equal(
		mounts("1 2 0:3 / /b rw - cgroup2 x rw\n1 2 0:3 / /a ro - cgroup2 x rw\n", m), 1);
	assert_string_equal(m[0].point, "/b");
}

static void test_mountinfo_hostile(void **state)
{
	static const char *const bad[] = {
		"",
		"\n\n\n",
		"1 2 0:3 / /p rw",
		"1 2 0:3 / /p rw -",
		"1 2 0:3 / /p rw - cgroup2",
		"1 2 0:3 / /p rw - cgroup2 x",
		"1 2 0:3 / relative rw - cgroup2 x rw",
		"1 2 0:3 relative /p rw - cgroup2 x rw",
		"1 2 0:3 / /p\\ rw - cgroup2 x rw",
		"1 2 0:3 / /p\\04 rw - cgroup2 x rw",
		"1 2 0:3 / /p\\08x rw - cgroup2 x rw",
		"1 2 0:3 / /p\\000x rw - cgroup2 x rw",
		"1 2 0:3 / /p\\777x rw - cgroup2 x rw",
		"1 2 0:3 / /p rw - cgroup x rw,devices,memoryx,xmemory",
		"1 2 0:3 / /p rw - tmpfs cgroup2 rw,memory",
		"1 2 0:3 /  rw - cgroup2 x rw",
		" - cgroup2 x rw",
		"- - - - - - - - -",
	};
	struct cgroup_mount m[CGROUP_MOUNT_MAX];
	char line[4096];

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		assert_int_equal(mounts(bad[i], m), 0);
	/* escaped bytes are bytes of the name, not separators */
	assert_int_equal(mounts("1 2 0:3 / /a\\040-\\040cgroup2\\012b\\134 rw - cgroup2 x rw", m),
			 1);
	assert_string_equal(m[0].point, "/a - cgroup2\nb\\");
	/* the longest path that fits, and one more */
	for (size_t n = CGROUP_PATH_SIZE - 2; n <= CGROUP_PATH_SIZE; n++) {
		snprintf(line, sizeof(line), "1 2 0:3 / /%0*d rw - cgroup2 x rw", (int)n - 1, 0);
		assert_int_equal(mounts(line, m), n < CGROUP_PATH_SIZE ? 1 : 0);
	}
}

/* More hierarchies than the array holds, NULs, and every truncation of a good text. */
static void test_mountinfo_bounds(void **state)
{
	struct cgroup_mount m[CGROUP_MOUNT_MAX + 1];
	char *copy;

	(void)state;
	memset(m, 0x5a, sizeof(m));
	assert_int_equal(cgroup_parse_mountinfo(hybrid_mounts, strlen(hybrid_mounts), m, 2), 2);
	assert_int_equal(((unsigned char *)&m[2])[0], 0x5a);
	assert_int_equal(cgroup_parse_mountinfo(hybrid_mounts, strlen(hybrid_mounts), m, 0), 0);
	for (size_t n = 0; n <= strlen(hybrid_mounts); n++) {
		copy = malloc(n ? n : 1); /* exact, so that a sanitizer sees a read beyond it */
		assert_non_null(copy);
		memcpy(copy, hybrid_mounts, n);
		assert_in_range(cgroup_parse_mountinfo(copy, n, m, CGROUP_MOUNT_MAX), 0, 6);
		if (n > 200)
			copy[100] = '\0';
		assert_in_range(cgroup_parse_mountinfo(copy, n, m, CGROUP_MOUNT_MAX), 0, 6);
		free(copy);
	}
}

static int self_v2(const char *text, char *ret, size_t size)
{
	return cgroup_parse_self(text, strlen(text), 0, ret, size);
}

static void test_self_hostile(void **state)
{
	char path[64];
	char line[200];

	(void)state;
	assert_int_equal(self_v2("", path, sizeof(path)), -ENOENT);
	assert_int_equal(self_v2("0:", path, sizeof(path)), -ENOENT);
	assert_int_equal(self_v2("0::", path, sizeof(path)), -EINVAL);
	assert_int_equal(self_v2("0::relative", path, sizeof(path)), -EINVAL);
	assert_int_equal(self_v2("1:name=x:/a\n", path, sizeof(path)), -ENOENT);
	/* a v1 hierarchy without a controller of that name is not taken for v2 */
	assert_int_equal(self_v2("00::/a\n10::/b\n", path, sizeof(path)), -ENOENT);
	assert_int_equal(self_v2("0::/a:b::c\n", path, sizeof(path)), 0);
	assert_string_equal(path, "/a:b::c");
	assert_int_equal(cgroup_parse_self("0::/a\0b", 7, 0, path, sizeof(path)), -EINVAL);
	snprintf(line, sizeof(line), "0::/%062d\n", 0);
	assert_int_equal(self_v2(line, path, sizeof(path)), 0);
	snprintf(line, sizeof(line), "0::/%063d\n", 0);
	assert_int_equal(self_v2(line, path, sizeof(path)), -ENAMETOOLONG);
	assert_int_equal(self_v2("0::/a/../b\n", path, sizeof(path)), -EINVAL);
	assert_int_equal(self_v2("0::/..\n", path, sizeof(path)), -EINVAL);
	assert_int_equal(self_v2("0::/..a\n", path, sizeof(path)), 0);
}

static void test_own_is_bounded(void **state)
{
	struct cgroup_mount m = {.version = 2, .root = "/", .point = "/sys/fs/cgroup"};
	char path[20];

	(void)state;
	assert_int_equal(cgroup_parse_own(&m, "/abcd", path, sizeof(path)), 0);
	assert_string_equal(path, "/sys/fs/cgroup/abcd");
	assert_int_equal(cgroup_parse_own(&m, "/abcde", path, sizeof(path)), -ENAMETOOLONG);
}

static void test_numbers(void **state)
{
	const char *list = "12\n0\n99999999999999999999\n7";

	(void)state;
	assert_true(cgroup_parse_u64("0\n") == 0);
	assert_true(cgroup_parse_u64("18446744073709551614") == UINT64_MAX - 1);
	assert_true(cgroup_parse_u64("18446744073709551616") == CGROUP_UNKNOWN);
	assert_true(cgroup_parse_u64("99999999999999999999999") == CGROUP_UNKNOWN);
	assert_true(cgroup_parse_u64("") == CGROUP_UNKNOWN);
	assert_true(cgroup_parse_u64("max\n") == CGROUP_UNKNOWN);
	assert_true(cgroup_parse_u64("-1\n") == CGROUP_UNKNOWN);
	assert_true(cgroup_parse_u64("12 13\n") == CGROUP_UNKNOWN);
	assert_true(cgroup_parse_key("oom 1\noom_kill 23\n", "oom_kill") == 23);
	assert_true(cgroup_parse_key("oom_kill_disable 0\nunder_oom 0\noom_kill 5", "oom_kill") ==
		    5);
	assert_true(cgroup_parse_key("oom_kill\n", "oom_kill") == CGROUP_UNKNOWN);
	assert_true(cgroup_parse_key("oom_kill max\n", "oom_kill") == CGROUP_UNKNOWN);
	assert_true(cgroup_parse_key("", "oom_kill") == CGROUP_UNKNOWN);
	assert_int_equal(cgroup_parse_pid(&list), 12);
	assert_int_equal(cgroup_parse_pid(&list), 0);
	assert_int_equal(cgroup_parse_pid(&list),
			 0); /* too large: nobody, never a wrapped number */
	assert_int_equal(cgroup_parse_pid(&list), 7);
	assert_int_equal(cgroup_parse_pid(&list), -1);
	assert_int_equal(cgroup_parse_ctls("cpuset cpu io memory hugetlb pids\n", 34),
			 SET | CPU | MEM | PIDS | CGROUP_BIT(CGROUP_IO));
	assert_int_equal(cgroup_parse_ctls("", 0), 0);
}

static void test_path_up(void **state)
{
	char path[] = "/sys/fs/cgroup/u.slice/x.scope/shell/deep";

	(void)state;
	assert_true(cgroup_path_up(path, "/sys/fs/cgroup"));
	assert_true(cgroup_path_up(path, "/sys/fs/cgroup"));
	assert_string_equal(path, "/sys/fs/cgroup/u.slice/x.scope");
	assert_false(cgroup_path_up(path, "/sys/fs/cgroup"));
	snprintf(path, sizeof(path), "/sys/fs/cgroup/a");
	assert_true(cgroup_path_up(path, "/sys/fs/cgroup/"));
	assert_false(cgroup_path_up(path, "/sys/fs/cgroup/"));
	assert_string_equal(path, "/sys/fs/cgroup");
}

static void test_path_is_ours(void **state)
{
	(void)state;
	assert_true(cgroup_path_is_ours("/sys/fs/cgroup/cleave/0123456789ab"));
	assert_true(cgroup_path_is_ours("/c/cleave/0123456789ab"));
	assert_false(cgroup_path_is_ours(""));
	assert_false(cgroup_path_is_ours("/"));
	assert_false(cgroup_path_is_ours("0123456789ab"));
	assert_false(cgroup_path_is_ours("/cleave/0123456789ab"));
	assert_false(cgroup_path_is_ours("c/cleave/0123456789ab"));
	assert_false(cgroup_path_is_ours("/c/cleave/0123456789aB"));
	assert_false(cgroup_path_is_ours("/c/cleave/0123456789abc"));
	assert_false(cgroup_path_is_ours("/c/cleave/0123456789ab/"));
	assert_false(cgroup_path_is_ours("/c/cleave/keepers"));
	assert_false(cgroup_path_is_ours("/c/../cleave/0123456789ab"));
	assert_false(cgroup_path_is_ours("/c/xcleave/0123456789ab"));
	assert_false(cgroup_path_is_ours("/sys/fs/cgroup/memory"));
}

static struct cgroup_host two_places(void)
{
	struct cgroup_host h = {
		.place_n = 2,
		.place = {{.version = 2,
			   .ctls = MEM | PIDS | ACCT | FRZ,
			   .enable = MEM,
			   .move_self = true,
			   .base = "/cg"},
			  {.version = 1, .ctls = CPU, .base = "/"}},
		.ctl = {[CGROUP_MEMORY] = {.version = 2},
			[CGROUP_PIDS] = {.version = 2},
			[CGROUP_CPU] = {.version = 1, .place = 1},
			[CGROUP_CPUACCT] = {.version = 2},
			[CGROUP_FREEZER] = {.place = -1, .why_not = "it is cold", .hint = "wait"}},
	};

	return h;
}

static void test_paths(void **state)
{
	struct cgroup_host h = two_places();
	struct cgroup cg;
	struct err e = ERR_INIT;

	(void)state;
	assert_int_equal(cgroup_paths(&h, "0123456789ab", PIDS | CPU, &cg, &e), 0);
	assert_int_equal(cg.dir_n, 2);
	assert_string_equal(cg.dir[0].path, "/cg/cleave/0123456789ab");
	assert_string_equal(cg.dir[1].path, "/cleave/0123456789ab");
	/* nothing to enable for pids, so the caller stays where it is */
	assert_string_equal(cg.keeper_path, "");
	assert_int_equal(cgroup_paths(&h, "0123456789ab", MEM, &cg, &e), 0);
	assert_int_equal(cg.dir_n, 1);
	assert_string_equal(cg.keeper_path, "/cg/cleave/keepers");
	assert_int_equal(cgroup_paths(&h, "0123456789ab", 0, &cg, &e), 0);
	assert_int_equal(cg.dir_n, 0);
	assert_int_equal(e.id, ERR_NONE);
}

static void test_paths_refused(void **state)
{
	static const char *const bad_id[] = {
		"", "0123456789a", "0123456789abc", "../../../etc", "0123456789AB", "0123456789a/"};
	struct cgroup_host h = two_places();
	struct cgroup cg;
	struct err e = ERR_INIT;

	(void)state;
	assert_int_equal(cgroup_paths(&h, "0123456789ab", MEM | FRZ, &cg, &e), -EINVAL);
	assert_int_equal(e.id, ERR_LIMIT);
	assert_non_null(strstr(e.what, "freezer"));
	assert_non_null(strstr(e.what, "it is cold"));
	assert_string_equal(e.hint, "wait");
	assert_int_equal(cg.dir_n, 0);
	for (size_t i = 0; i < ARRAY_LEN(bad_id); i++) {
		e = ERR_INIT;
		assert_int_equal(cgroup_paths(&h, bad_id[i], MEM, &cg, &e), -EINVAL);
	}
	e = ERR_INIT;
	memset(h.place[0].base, 'x', sizeof(h.place[0].base) - 1);
	assert_int_equal(cgroup_paths(&h, "0123456789ab", MEM, &cg, &e), -ENAMETOOLONG);
	assert_int_equal(cg.dir_n, 0);
}

/* No /proc text, however odd, makes the probe do anything but answer. */
static void test_probe_hostile(void **state)
{
	static const char *const text[] = {
		"", "garbage", "1 2 0:3 / /proc rw - cgroup2 x rw\n",
		"1 2 0:3 / /nowhere rw - cgroup x rw,memory,pids,cpu,cpuacct,freezer\n"};
	struct cgroup_host h;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(text); i++) {
		assert_int_equal(cgroup_probe_texts(CGROUP_ALL, text[i], strlen(text[i]), "0::/\n",
						    5, &h),
				 0);
		assert_int_equal(cgroup_usable(&h), 0);
		assert_int_equal(h.place_n, 0);
		for (int c = 0; c < CGROUP_CTL_N; c++)
			assert_true(!(CGROUP_ALL & CGROUP_BIT(c)) || h.ctl[c].why_not[0]);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_systemd_v2),
		cmocka_unit_test(test_hybrid),
		cmocka_unit_test(test_docker_v1),
		cmocka_unit_test(test_docker_v2),
		cmocka_unit_test(test_same_hierarchy_twice),
		cmocka_unit_test(test_mountinfo_hostile),
		cmocka_unit_test(test_mountinfo_bounds),
		cmocka_unit_test(test_self_hostile),
		cmocka_unit_test(test_own_is_bounded),
		cmocka_unit_test(test_numbers),
		cmocka_unit_test(test_path_up),
		cmocka_unit_test(test_path_is_ours),
		cmocka_unit_test(test_paths),
		cmocka_unit_test(test_paths_refused),
		cmocka_unit_test(test_probe_hostile),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
