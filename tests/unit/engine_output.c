/* SPDX-License-Identifier: Apache-2.0 */
/* The kept output: rotation under a reader, and disks that take no more. */
#include "engine/output.h"

#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define RECORD 65536u
#define RECORDS (OUTPUT_LOG_BYTES / RECORD) /* more than one file takes */

static char template[32];
static int dir_fd, out_fd;
static struct output_log l;
static unsigned written;

static int setup(void **state)
{
	(void)state;
	strcpy(template, "/tmp/ct-output-XXXXXX");
	dir_fd = open(mkdtemp(template), O_DIRECTORY | O_RDONLY | O_CLOEXEC);
	out_fd = memfd_create("out", MFD_CLOEXEC);
	output_open(&l, dir_fd);
	written = 0;
	return dir_fd < 0 || out_fd < 0 || l.fd < 0;
}

static int teardown(void **state)
{
	(void)state;
	output_close(&l);
	unlinkat(dir_fd, "log", 0);
	unlinkat(dir_fd, "log.1", 0);
	close(dir_fd);
	close(out_fd);
	return rmdir(template);
}

/* Each record begins with its number. */
static void put(unsigned n)
{
	static char data[RECORD];

	for (unsigned i = 0; i < n; i++, written++) {
		memcpy(data, &written, sizeof(written));
		output_write(&l, 'o', data, sizeof(data));
	}
}

static void assert_read(unsigned index, unsigned number)
{
	unsigned found;

	assert_int_equal(pread(out_fd, &found, sizeof(found), (off_t)index * RECORD),
			 sizeof(found));
	assert_int_equal(found, number);
}

static unsigned count_read(void)
{
	struct stat st;

	assert_int_equal(fstat(out_fd, &st), 0);
	return (unsigned)(st.st_size / RECORD);
}

static bool at_once(void *arg)
{
	(void)arg;
	return true;
}

/* The writer is two files further when the reader has the first one open. */
static bool runs_ahead(void *arg)
{
	int *calls = arg;

	if ((*calls)++ == 0)
		put(2 * RECORDS);
	return *calls > 1;
}

static void test_two_rotations_under_a_reader(void **state)
{
	int calls = 0;

	(void)state;
	put(3);
	assert_int_equal(output_copy(dir_fd, 0, true, runs_ahead, &calls, out_fd, -1), 0);
	assert_int_equal(count_read(), written);
	for (unsigned i = 0; i < written; i++)
		assert_read(i, i);
}

static void test_what_is_kept(void **state)
{
	unsigned n;

	(void)state;
	put(4 * RECORDS);
	assert_int_equal(output_copy(dir_fd, 0, false, at_once, NULL, out_fd, -1), 0);
	n = count_read();
	assert_in_range(n, RECORDS, 2 * RECORDS);
	for (unsigned i = 0; i < n; i++)
		assert_read(i, written - n + i);
}

/* As on a full disk: writes that stop in the middle. */
static void test_a_disk_that_is_full_for_a_while(void **state)
{
	struct rlimit was, little = {3 * RECORD, RLIM_INFINITY};

	(void)state;
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &was), 0);
	little.rlim_max = was.rlim_max;
	signal(SIGXFSZ, SIG_IGN);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &little), 0);
	put(6);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &was), 0);
	put(1);
	assert_int_equal(output_copy(dir_fd, 0, false, at_once, NULL, out_fd, -1), 0);
	assert_int_equal(count_read(), 3);
	assert_read(0, 0);
	assert_read(1, 1);
	assert_read(2, 6);
}

static void test_no_new_file_for_a_while(void **state)
{
	unsigned n;

	(void)state;
	assert_int_equal(mkdirat(dir_fd, "log.new", 0700), 0);
	put(RECORDS + 5);
	assert_int_equal(unlinkat(dir_fd, "log.new", AT_REMOVEDIR), 0);
	put(1);
	assert_int_equal(output_copy(dir_fd, 0, false, at_once, NULL, out_fd, -1), 0);
	n = count_read();
	assert_in_range(n, 2, RECORDS);
	assert_read(n - 2, n - 2);
	assert_read(n - 1, written - 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_two_rotations_under_a_reader, setup, teardown),
		cmocka_unit_test_setup_teardown(test_what_is_kept, setup, teardown),
		cmocka_unit_test_setup_teardown(test_a_disk_that_is_full_for_a_while, setup,
						teardown),
		cmocka_unit_test_setup_teardown(test_no_new_file_for_a_while, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
