/* SPDX-License-Identifier: Apache-2.0 */
/* Where a copy lands, whose it is, and the hostile cases; bounds are in engine_copy_bounds.c. */
#include "engine_copy.h"

/* ---- where it lands ---- */

static void test_operands(void **state)
{
	static const struct {
		const char *path, *parent, *name;
		bool contents, directory;
	} cases[] = {
		{"a", ".", "a", false, false},     {"a/", ".", "a", false, true},
		{"/a", "/", "a", false, false},    {"/a//b//", "/a//", "b", false, true},
		{"/", "/", NULL, true, true},      {".", ".", NULL, true, true},
		{"a/.", "a/.", NULL, true, true},  {"a/..", "a/..", NULL, true, true},
		{"a/./", "a/.", NULL, true, true}, {"..a", ".", "..a", false, false},
		{"///", "/", NULL, true, true},    {"...", ".", "...", false, false},
	};
	struct copy_operand o;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		assert_int_equal(copy_operand_parse(cases[i].path, &o), 0);
		assert_string_equal(o.parent, cases[i].parent);
		if (cases[i].name)
			assert_string_equal(o.name, cases[i].name);
		else
			assert_null(o.name);
		assert_int_equal(o.contents, cases[i].contents);
		assert_int_equal(o.directory, cases[i].directory);
		copy_operand_done(&o);
	}
	assert_int_equal(copy_operand_parse("", &o), -EINVAL);
}

static void test_landing(void **state)
{
	(void)state;
	make_dir(in_fd, "d");
	make_file(in_fd, "d/f", "one");
	make_dir(host_fd, "there");
	make_file(host_fd, "file", "old");

	assert_int_equal(out("/d/f", "new"), 0);
	assert_content(host_fd, "new", "one");
	assert_int_equal(out("/d/f", "there"), 0);
	assert_content(host_fd, "there/f", "one");
	assert_int_equal(out("/d/f", "file"), 0);
	assert_content(host_fd, "file", "one");
	assert_int_equal(out("/d/f", "missing/"), -ENOENT);
	assert_int_equal(out("/d/f", "missing/f"), -ENOENT);
	assert_int_equal(out("/d/f", "file/"), -ENOTDIR);
	assert_int_equal(out("/missing", "x"), -ENOENT);
	assert_int_equal(out("/d/f/", "x"), -ENOTDIR);

	assert_int_equal(out("/d", "copy"), 0);
	assert_content(host_fd, "copy/f", "one");
	assert_int_equal(out("/d", "copy"), 0); /* now it exists */
	assert_content(host_fd, "copy/d/f", "one");
	assert_int_equal(out("/d/.", "copy2"), 0);
	assert_content(host_fd, "copy2/f", "one");
	assert_int_equal(out("/d/.", "there"), 0);
	assert_content(host_fd, "there/f", "one");
	assert_int_equal(out("/", "all"), 0);
	assert_content(host_fd, "all/d/f", "one");
	assert_int_equal(out("/d", "file"), -ENOTDIR);
	assert_content(host_fd, "file", "one");

	assert_int_equal(in("copy", "/d"), 0);
	assert_content(in_fd, "d/copy/f", "one");
	assert_int_equal(in("copy/.", "/e"), 0);
	assert_content(in_fd, "e/d/f", "one");
	assert_int_equal(in("file", "/e/g"), 0);
	assert_int_equal(stat_of(in_fd, "e/g").st_uid, inside_id());
	assert_int_equal(stat_of(in_fd, "e").st_gid, inside_id());
	assert_int_equal(stat_of(host_fd, "all/d/f").st_uid, geteuid());
}

static void test_times_and_modes(void **state)
{
	const struct timespec then[2] = {{.tv_sec = 1}, {.tv_sec = 1000000000, .tv_nsec = 5}};

	(void)state;
	make_dir(in_fd, "d");
	make_file(in_fd, "d/private", "x");
	assert_int_equal(fchmodat(in_fd, "d/private", 0600, 0), 0);
	make_file(in_fd, "d/open", "x");
	assert_int_equal(fchmodat(in_fd, "d/open", 0666, 0), 0);
	assert_int_equal(utimensat(in_fd, "d/open", then, 0), 0);
	assert_int_equal(out("/d", "d"), 0);
	assert_int_equal(stat_of(host_fd, "d/private").st_mode & 07777, 0600);
	assert_int_equal(stat_of(host_fd, "d/open").st_mode & 07777, 0644); /* our umask */
	assert_int_equal(stat_of(host_fd, "d/open").st_mtim.tv_sec, 1000000000);
	assert_int_equal(fchmodat(host_fd, "d/open", 0666, 0), 0);
	assert_int_equal(in("d", "/e"), 0);
	assert_int_equal(stat_of(in_fd, "e/open").st_mode & 07777, 0666);
	assert_int_equal(stat_of(in_fd, "e/open").st_mtim.tv_sec, 1000000000);
	/* a directory that its owner can't use comes out usable, so that it can be removed */
	make_dir(in_fd, "e/sealed");
	assert_int_equal(fchmodat(in_fd, "e/sealed", 0555, 0), 0);
	assert_int_equal(out("/e/sealed", "s"), 0);
	assert_int_equal(stat_of(host_fd, "s").st_mode & 07777, 0755);
}

/* Rights: what the workload may not read does not come out with root's. */
static void test_rights(void **state)
{
	(void)state;
	if (geteuid())
		return; /* there is but one id then */
	make_file(in_fd, "roots", "x");
	assert_int_equal(fchownat(in_fd, "roots", 0, 0, 0), 0);
	assert_int_equal(fchmodat(in_fd, "roots", 0600, 0), 0);
	make_file(in_fd, "other", "slot");
	assert_int_equal(fchownat(in_fd, "other", SLOT_ID - 1000, SLOT_ID - 1000, 0), 0);
	assert_int_equal(fchmodat(in_fd, "other", 0600, 0), 0);
	assert_int_equal(out("/roots", "r"), 0);
	assert_int_equal(report.failed, 1);
	assert_int_equal(report.first_failed.code, EACCES);
	assert_false(exists(host_fd, "r"));
	assert_int_equal(out("/other", "o"), 0); /* another id of the same sandbox */
	assert_content(host_fd, "o", "slot");
	make_dir(in_fd, "locked");
	assert_int_equal(fchownat(in_fd, "locked", 0, 0, 0), 0);
	assert_int_equal(in("o", "/locked/o"), -EACCES);
	assert_int_equal(geteuid(), 0);
	make_file(in_fd, "roots2", "still root");
	assert_int_equal(fchownat(in_fd, "roots2", 0, 0, 0), 0);
}

/* ---- the nine hostile cases ---- */

static void test_symlink(void **state)
{
	(void)state;
	make_dir(in_fd, "d");
	make_file(in_fd, "d/f", "inside");
	make_link(in_fd, "up", "../away");
	make_link(in_fd, "absolute", "/d");
	make_link(in_fd, "d/link", "/etc/passwd");

	/* as operands: looked up in the root, the last component stays a link unless a slash
	 * follows */
	assert_int_equal(out("/up/secret", "s"), -ENOENT);
	assert_int_equal(out("/absolute/f", "f"), 0);
	assert_content(host_fd, "f", "inside");
	assert_int_equal(out("/absolute", "l"), 0);
	assert_link(host_fd, "l", "/d");
	assert_int_equal(out("/absolute/", "l2"), 0);
	assert_content(host_fd, "l2/f", "inside");
	assert_link(host_fd, "l2/link", "/etc/passwd");

	/* on the host a link that a sandbox may have planted is never followed, at no place of a
	 * path */
	make_link(host_fd, "planted", "../away");
	make_link(host_fd, "planted-file", "../away/secret");
	assert_int_equal(out("/d", "planted"), -ELOOP);
	assert_int_equal(out("/d", "planted/"), -ELOOP);
	assert_int_equal(out("/d/f", "planted/secret"), -ELOOP);
	assert_int_equal(out("/d/f", "planted-file"), -ELOOP);
	assert_int_equal(in("planted/secret", "/x"), -ELOOP);
	assert_int_equal(in("planted-file", "/x"), 0);
	assert_link(in_fd, "x", "../away/secret");

	/* nor one that lies in the tree which is merged into */
	make_dir(host_fd, "tree");
	make_dir(host_fd, "tree/d");
	make_link(host_fd, "tree/d/f", "../../../away/secret");
	assert_int_equal(out("/d", "tree"), 0);
	assert_content(host_fd, "tree/d/f", "inside");
	make_link(host_fd, "tree/e", "../../away");
	make_dir(in_fd, "e");
	make_file(in_fd, "e/secret", "overwritten");
	assert_int_equal(out("/e", "tree"), -ENOTDIR);
	assert_content(away_fd, "secret", "away");

	/* and inside, a file replaces a link instead of being written through it */
	make_link(in_fd, "to", "/d/f");
	make_file(host_fd, "new", "new");
	assert_int_equal(in("new", "/to"), 0);
	assert_content(in_fd, "to", "new");
	assert_content(in_fd, "d/f", "inside");
}

/* What the races below need luck for: whatever a name has become, opening it is harmless. */
static void test_open(void **state)
{
	static const char *const no_names[] = {"", ".", "..", "d/f", "/d", "d/"};
	struct side sides[] = {inside(), side_host()};
	int fd;

	(void)state;
	make_dir(in_fd, "d");
	make_file(in_fd, "d/f", "x");
	make_link(in_fd, "l", "d");
	make_link(in_fd, "lf", "d/f");
	assert_int_equal(mkfifoat(in_fd, "p", 0666), 0);
	ours(in_fd, "p");
	for (size_t i = 0; i < ARRAY_LEN(sides); i++) {
		assert_int_equal(side_open(&sides[i], in_fd, "l", O_RDONLY, 0, NULL), -ELOOP);
		assert_int_equal(side_open(&sides[i], in_fd, "lf", O_RDONLY, 0, NULL), -ELOOP);
		assert_int_equal(side_open(&sides[i], in_fd, "lf", O_WRONLY | O_CREAT, 0600, NULL),
				 -ELOOP);
		assert_int_equal(side_open_below(&sides[i], in_fd, "l/f", O_RDONLY), -ELOOP);
		assert_int_equal(side_open_below(&sides[i], in_fd, "d/../../away", O_PATH), -EXDEV);
		fd = side_open(&sides[i], in_fd, "p", O_RDONLY, 0, NULL); /* nobody writes it */
		assert_true(fd >= 0);
		close(fd);
		assert_int_equal(side_open(&sides[i], in_fd, "p", O_WRONLY, 0, NULL), -ENXIO);
		for (size_t n = 0; n < ARRAY_LEN(no_names); n++)
			assert_int_equal(side_open(&sides[i], in_fd, no_names[n], O_RDONLY, 0,
						   NULL),
					 -EINVAL);
	}
	fd = side_lookup(&sides[0], "/../../l/../../d/f", O_RDONLY);
	assert_true(fd >= 0);
	close(fd);
	fd = side_lookup(&sides[0], "p", O_RDONLY);
	assert_true(fd >= 0);
	close(fd);
}

/* Exchanges two names below dir_fd until it is killed. */
static pid_t swapper(int dir_fd, const char *a, const char *b)
{
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid)
		return pid;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	for (;;)
		if (renameat2(dir_fd, a, dir_fd, b, RENAME_EXCHANGE) < 0)
			_exit(1);
}

static void stop(pid_t pid)
{
	int status;

	assert_int_equal(kill(pid, SIGKILL), 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status)); /* it swapped to the end */
}

static time_t deadline(void)
{
	return time(NULL) + 20;
}

static void test_racing_rename_out(void **state)
{
	unsigned as_link = 0, as_directory = 0, rounds = 0;
	time_t end = deadline();
	char away[80];
	pid_t pid;

	(void)state;
	make_dir(in_fd, "d");
	make_dir(in_fd, "d/x");
	make_file(in_fd, "d/x/good", "good");
	snprintf(away, sizeof(away), "%s/away", top);
	make_link(in_fd, "evil", away);
	pid = swapper(in_fd, "d/x", "evil");
	while (rounds++ < 300 || !as_link || !as_directory) {
		assert_true(time(NULL) < end);
		assert_int_equal(out("/d", "o"), 0);
		assert_false(exists(host_fd, "o/x/secret") &&
			     S_ISDIR(stat_of(host_fd, "o/x").st_mode));
		as_link += exists(host_fd, "o/x") && S_ISLNK(stat_of(host_fd, "o/x").st_mode);
		as_directory += exists(host_fd, "o/x") && S_ISDIR(stat_of(host_fd, "o/x").st_mode);
		remove_all(host_fd, "o");
		/* through it, as part of the operand */
		assert_int_not_equal(out("/d/x/secret", "s"), 0);
		assert_false(exists(host_fd, "s"));
	}
	stop(pid);
}

static void test_racing_rename_in(void **state)
{
	unsigned made = 0, refused = 0, rounds = 0;
	time_t end = deadline();
	pid_t pid;

	(void)state;
	make_dir(in_fd, "d");
	make_dir(in_fd, "d/t");
	make_link(in_fd, "evil", "../../away");
	make_dir(host_fd, "t");
	make_file(host_fd, "t/planted", "x");
	pid = swapper(in_fd, "d/t", "evil");
	while (rounds++ < 300 || !made || !refused) {
		assert_true(time(NULL) < end);
		if (in("t", "/d") == 0)
			made++;
		else
			refused++;
		assert_int_not_equal(in("t/planted", "/d/t/../../../away/planted"), 0);
		assert_false(exists(away_fd, "planted"));
	}
	stop(pid);
}

static void test_racing_host(void **state)
{
	unsigned made = 0, refused = 0, rounds = 0;
	time_t end = deadline();
	pid_t pid;

	(void)state;
	make_dir(in_fd, "t");
	make_file(in_fd, "t/planted", "x");
	make_dir(host_fd, "t");
	make_link(host_fd, "evil", "../away");
	pid = swapper(host_fd, "t", "evil"); /* as a sandbox with --rw . can */
	while (rounds++ < 300 || !made || !refused) {
		assert_true(time(NULL) < end);
		if (out("/t/planted", "t") == 0)
			made++;
		else
			refused++;
		assert_false(exists(away_fd, "planted"));
	}
	stop(pid);
}

static void test_device(void **state)
{
	int dev = open("/dev", O_PATH | O_DIRECTORY | O_CLOEXEC),
	    root = open("/", O_PATH | O_CLOEXEC);
	struct side s;

	(void)state;
	assert_int_equal(side_inside(&s, dev, geteuid(), getegid(), &error), 0);
	assert_int_equal(run(s, "/null", side_host(), "n", -1), -EOPNOTSUPP);
	assert_non_null(strstr(error.what, "is a device"));
	assert_false(exists(host_fd, "n"));
	/* files of the kernel look empty and answer anything */
	assert_int_equal(side_inside(&s, root, geteuid(), getegid(), &error), 0);
	assert_int_equal(run(s, "/proc/self/status", side_host(), "n", -1), -EOPNOTSUPP);
	assert_int_equal(run(s, "/proc/self/fd/", side_host(), "n", -1), -EOPNOTSUPP);
	assert_int_equal(run(s, "/proc/self/cwd/x", side_host(), "n", -1), -ELOOP);
	close(dev);
	close(root);
	if (geteuid())
		return; /* the rest needs a device of our own */
	make_dir(in_fd, "d");
	make_file(in_fd, "d/f", "x");
	assert_int_equal(mknodat(in_fd, "d/disk", S_IFBLK | 0666, makedev(254, 0)), 0);
	assert_int_equal(out("/d", "d"), 0);
	assert_int_equal(report.skipped, 1);
	assert_false(exists(host_fd, "d/disk"));
	assert_content(host_fd, "d/f", "x");
	assert_int_equal(mknodat(host_fd, "zero", S_IFCHR | 0666, makedev(1, 5)), 0);
	assert_int_equal(out("/d/f", "zero"), -EEXIST); /* replacing it would hurt the host */
	assert_true(S_ISCHR(stat_of(host_fd, "zero").st_mode));
}

static void test_fifo(void **state)
{
	unsigned skipped = 0, copied = 0, rounds = 0;
	time_t end = deadline();
	pid_t pid;

	(void)state;
	make_dir(in_fd, "d");
	make_file(in_fd, "d/f", "x");
	assert_int_equal(mkfifoat(in_fd, "d/p", 0666), 0);
	ours(in_fd, "d/p");
	assert_int_equal(out("/d", "d"), 0);
	assert_int_equal(report.skipped, 1);
	assert_non_null(strstr(report.first_skipped.what, "'d/p' is a fifo"));
	assert_int_equal(out("/d/p", "p"), -EOPNOTSUPP);
	/* a file that becomes a fifo between the look and the open does not hold us */
	pid = swapper(in_fd, "d/f", "d/p");
	while (rounds++ < 300 || !skipped || !copied) {
		int r = out("/d/f", "f");

		assert_true(time(NULL) < end);
		assert_true(r == 0 || r == -EOPNOTSUPP);
		skipped += r != 0;
		copied += r == 0;
	}
	stop(pid);
	assert_int_equal(mkfifoat(host_fd, "fifo", 0666), 0);
	assert_int_equal(out("/d", "fifo"), -ENOTDIR);
}

static void test_socket(void **state)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	(void)state;
	make_dir(in_fd, "d");
	make_file(in_fd, "d/f", "x");
	snprintf(a.sun_path, sizeof(a.sun_path), "%s/in/d/s", top);
	assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof(a)), 0);
	assert_int_equal(out("/d", "d"), 0);
	assert_int_equal(report.skipped, 1);
	assert_non_null(strstr(report.first_skipped.what, "is a socket"));
	assert_content(host_fd, "d/f", "x");
	assert_false(exists(host_fd, "d/s"));
	close(fd);
}

#define TERABYTE (1ll << 40)

static void assert_sparse(int dir_fd, const char *name)
{
	struct stat st = stat_of(dir_fd, name);
	int fd = openat(dir_fd, name, O_RDONLY | O_CLOEXEC);
	char got[4] = "";

	assert_true(st.st_size == TERABYTE);
	assert_true(st.st_blocks < 1024);
	assert_int_equal(pread(fd, got, 3, TERABYTE / 2), 3);
	assert_string_equal(got, "mid");
	assert_int_equal(pread(fd, got, 3, 0), 3);
	assert_memory_equal(got, "\0\0\0", 3);
	close(fd);
}

static void test_sparse(void **state)
{
	int fd;

	(void)state;
	make_dir(in_fd, "d");
	make_file(in_fd, "d/big", "");
	fd = openat(in_fd, "d/big", O_WRONLY | O_CLOEXEC);
	assert_int_equal(ftruncate(fd, TERABYTE), 0);
	assert_int_equal(pwrite(fd, "mid", 3, TERABYTE / 2), 3);
	close(fd);
	assert_int_equal(out("/d", "d"), 0);
	assert_sparse(host_fd, "d/big");
	assert_int_equal(in("d/big", "/back"), 0);
	assert_sparse(in_fd, "back");
	make_dir(in_fd, "t");
	assert_int_equal(round_trip("/d", "/t"), 0);
	assert_sparse(in_fd, "t/d/big");
	/* nothing but a hole */
	make_file(in_fd, "d/hole", "");
	assert_int_equal(truncate("../in/d/hole", TERABYTE), 0);
	assert_int_equal(round_trip("/d/hole", "/t"), 0);
	assert_true(stat_of(in_fd, "t/hole").st_size == TERABYTE);
	assert_int_equal(stat_of(in_fd, "t/hole").st_blocks, 0);
}

static void test_set_id(void **state)
{
	(void)state;
	make_dir(in_fd, "d");
	make_file(in_fd, "d/su", "x");
	assert_int_equal(fchmodat(in_fd, "d/su", 06755, 0), 0);
	assert_int_equal(fchmodat(in_fd, "d", 03777, 0), 0);
	assert_int_equal(
		fsetxattr(openat(in_fd, "d/su", O_RDONLY | O_CLOEXEC), "user.x", "1", 1, 0), 0);
	assert_int_equal(out("/d", "d"), 0);
	assert_int_equal(stat_of(host_fd, "d/su").st_mode & 07777, 0755);
	assert_int_equal(stat_of(host_fd, "d").st_mode & 07777, 0755);
	assert_int_equal(getxattr("d/su", "user.x", NULL, 0), -1);
	assert_int_equal(fchmodat(host_fd, "d/su", 06755, 0), 0);
	assert_int_equal(in("d", "/e"), 0);
	assert_int_equal(stat_of(in_fd, "e/su").st_mode & 07777, 0755);
	make_dir(in_fd, "t");
	assert_int_equal(fchmodat(in_fd, "d/su", 06755, 0), 0);
	assert_int_equal(round_trip("/d", "/t"), 0);
	assert_int_equal(stat_of(in_fd, "t/d/su").st_mode & 07777, 0755);
}

static void test_names(void **state)
{
	static char longest[256];
	const char *const names[] = {"line\nbreak", "\xff\xfe not utf-8 \x80",
				     "-rf",         " ",
				     "*?[a]",       "quote'\"\\",
				     "\t",          "\x01\x1b[31m",
				     "...",         longest};
	char path[512], expected[512];

	(void)state;
	memset(longest, 0xfe, sizeof(longest) - 1);
	make_dir(in_fd, "d");
	make_dir(in_fd, "t");
	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		snprintf(path, sizeof(path), "d/%s", names[i]);
		make_file(in_fd, path, names[i]);
	}
	make_link(in_fd, "d/l", longest);
	assert_int_equal(out("/d", "d"), 0);
	assert_int_equal(in("d", "/e"), 0);
	assert_int_equal(round_trip("/d", "/t"), 0);
	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		snprintf(expected, sizeof(expected), "%s", names[i]);
		snprintf(path, sizeof(path), "d/%s", names[i]);
		assert_content(host_fd, path, expected);
		snprintf(path, sizeof(path), "e/%s", names[i]);
		assert_content(in_fd, path, expected);
		snprintf(path, sizeof(path), "t/d/%s", names[i]);
		assert_content(in_fd, path, expected);
	}
	assert_int_equal(count(in_fd, "t/d"), ARRAY_LEN(names) + 1);
	make_dir(in_fd, "again");
	assert_int_equal(round_trip("/t/d/l", "/again"), 0);
	assert_int_equal(stat_of(in_fd, "again/l").st_size, 255);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_operands),
		T(test_landing),
		T(test_times_and_modes),
		T(test_rights),
		T(test_symlink),
		T(test_open),
		T(test_racing_rename_out),
		T(test_racing_rename_in),
		T(test_racing_host),
		T(test_device),
		T(test_fifo),
		T(test_socket),
		T(test_sparse),
		T(test_set_id),
		T(test_names),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
