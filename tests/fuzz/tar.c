/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Tar streams that are unpacked: nothing appears outside the directory. With an odd first byte the
 * check sums of all headers are made right, for a mutation would never hit them.
 */
#include "fuzz.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/tar.h"

static void right_sums(char *s, size_t size)
{
	for (size_t at = 0; at + TAR_BLOCK <= size; at += TAR_BLOCK) {
		struct tar_header *h = (struct tar_header *)(s + at);

		if (!memcmp(h->magic, "ustar", 5))
			snprintf(h->checksum, sizeof(h->checksum), "%06o", tar_checksum(h));
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	int dir_fd = fuzz_directory("top"), fd;
	bool sums = fuzz_selector(&data, &size) & 1;
	char *s = fuzz_text(data, size);
	struct tree_report report = {0};
	struct side side = side_host();
	struct err e = ERR_INIT;

	if (sums)
		right_sums(s, size);
	fd = fuzz_memfd(s, size);
	umask(0);
	if (tar_extract(fd, &side, dir_fd, &report, &e) < 0)
		FUZZ_CHECK(e.id && e.what[0]);
	close(fd);
	close(dir_fd);
	fuzz_clean("top");
	free(s);
	return 0;
}
