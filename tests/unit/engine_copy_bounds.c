/* SPDX-License-Identifier: Apache-2.0 */
/* Copies of trees that are too large, too deep, grow, or are one file with many names; and the list
 * of files. */
#include "engine_copy.h"

#include "engine/diff.h"

#define MANY 100000

static void test_many(void **state)
{
	char name[64];

	(void)state;
	make_dir(in_fd, "d");
	for (unsigned i = 0; i < MANY; i++) {
		int fd;

		snprintf(name, sizeof(name), "d/%u", i);
		fd = openat(in_fd, name, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
		assert_true(fd >= 0);
		close(fd);
	}
	assert_int_equal(out("/d", "d"), 0);
	assert_int_equal(report.entries, MANY + 1);
	assert_int_equal(count(host_fd, "d"), MANY);
}

/* One file with a thousand names stays one file, in either direction and as tar. */
static void test_hard_links(void **state)
{
	char name[64];

	(void)state;
	make_dir(in_fd, "d");
	make_dir(in_fd, "d/e");
	make_dir(in_fd, "t");
	make_file(in_fd, "d/0", "one file");
	for (unsigned i = 1; i < 1000; i++) {
		snprintf(name, sizeof(name), i % 2 ? "d/%u" : "d/e/%u", i);
		assert_int_equal(linkat(in_fd, "d/0", in_fd, name, 0), 0);
	}
	make_file(in_fd, "d/other", "another");
	assert_int_equal(linkat(in_fd, "d/other", in_fd, "d/other2", 0), 0);
	assert_int_equal(out("/d", "copy"), 0);
	assert_int_equal(stat_of(host_fd, "copy/0").st_nlink, 1000);
	assert_int_equal(stat_of(host_fd, "copy/other").st_nlink, 2);
	assert_content(host_fd, "copy/e/998", "one file");
	assert_content(host_fd, "copy/other2", "another");
	assert_int_equal(out("/d/.", "."), 0); /* without a top of its own */
	assert_int_equal(stat_of(host_fd, "e/2").st_nlink, 1000);
	assert_int_equal(in("copy", "/back"), 0);
	assert_int_equal(stat_of(in_fd, "back/e/4").st_nlink, 1000);
	assert_int_equal(round_trip("/d", "/t"), 0);
	assert_int_equal(stat_of(in_fd, "t/d/e/4").st_nlink, 1000);
	assert_content(in_fd, "t/d/999", "one file");
	assert_int_equal(out("/d/0", "single"), 0);
	assert_int_equal(stat_of(host_fd, "single").st_nlink, 1);
}

static void test_deep(void **state)
{
	int fd = fcntl(in_fd, F_DUPFD_CLOEXEC, 3), next;

	(void)state;
	for (unsigned i = 0; i < TREE_DEPTH + 44; i++) {
		assert_int_equal(mkdirat(fd, "d", 0777), 0);
		next = openat(fd, "d", O_PATH | O_CLOEXEC);
		close(fd);
		fd = next;
	}
	close(fd);
	assert_int_equal(out("/d", "o"), 0);
	assert_int_equal(report.failed, 1);
	assert_int_equal(report.first_failed.code, ENAMETOOLONG);
	assert_int_equal(report.visited, TREE_DEPTH);
}

static void test_growing(void **state)
{
	struct stat st;
	pid_t pid;

	(void)state;
	make_file(in_fd, "log", "first\n");
	pid = fork();
	if (pid == 0) {
		int fd = openat(in_fd, "log", O_WRONLY | O_APPEND | O_CLOEXEC);

		prctl(PR_SET_PDEATHSIG, SIGKILL);
		while (write(fd, "more and more\n", 14) == 14 && lseek(fd, 0, SEEK_CUR) < 1 << 28)
			;
		_exit(0);
	}
	for (unsigned i = 0; i < 50; i++) {
		st = stat_of(in_fd, "log");
		assert_int_equal(out("/log", "log"), 0);
		assert_true(stat_of(host_fd, "log").st_size >= st.st_size);
	}
	kill(pid, SIGKILL);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
}

/* The place that is written to lies in the tree that is read: ends, with a sentence. */
static void test_into_itself(void **state)
{
	(void)state;
	make_dir(in_fd, "d");
	make_dir(in_fd, "d/e");
	assert_int_equal(in("../in/d", "/d/e"), -EINVAL);
	assert_non_null(strstr(error.what, "into itself"));
}

static void test_diff(void **state)
{
	static const char *const expected[] = {
		"{\"path\":\"/tmp/d\",\"type\":\"directory\",\"size\":",
		"{\"path\":\"/tmp/d/f\",\"type\":\"file\",\"size\":3,\"mode\":2541}\n",
		"{\"path\":\"/tmp/d/l\",\"type\":\"symlink\",\"size\":7,\"mode\":511}\n",
		"{\"path\":\"/tmp/d/p\",\"type\":\"fifo\",\"size\":0,",
		"\"L3RtcC9kL/8=\",\"path_encoding\":\"base64\",\"type\":\"file\"",
	};
	AUTO_FREE char *text = NULL;
	size_t size;
	FILE *f = open_memstream(&text, &size);
	struct spec spec = {0};
	struct side s = inside();

	(void)state;
	make_dir(in_fd, "tmp");
	make_dir(in_fd, "tmp/d");
	make_file(in_fd, "tmp/d/f", "abc");
	assert_int_equal(fchmodat(in_fd, "tmp/d/f", 04755, 0), 0);
	make_link(in_fd, "tmp/d/l", "/secret");
	assert_int_equal(mkfifoat(in_fd, "tmp/d/p", 0600), 0);
	make_file(in_fd, "tmp/d/\xff", "");
	make_dir(in_fd, "usr");
	make_file(in_fd, "usr/f", "not a place that can be written");
	report = (struct tree_report){0};
	assert_int_equal(diff_all(&s, &spec, f, &report, &error), 0);
	assert_int_equal(fclose(f), 0);
	for (size_t i = 0; i < ARRAY_LEN(expected); i++)
		assert_non_null(strstr(text, expected[i]));
	assert_null(strstr(text, "usr"));
	assert_int_equal(report.failed, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_many),    T(test_hard_links),  T(test_deep),
		T(test_growing), T(test_into_itself), T(test_diff),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
