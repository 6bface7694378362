/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The files of a clone: nothing appears outside its root. With an odd first byte magic and length
 * are made right.
 */
#include "fuzz.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/layer.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	int root_fd = fuzz_directory("root"), fd;
	bool right = fuzz_selector(&data, &size) & 1;
	char *s = fuzz_text(data, size);
	struct layer_owner owner = {0};
	struct err e = ERR_INIT;

	if (right && size >= sizeof(struct layer_header)) {
		struct layer_header h;

		memcpy(&h, s, sizeof(h));
		h.magic = LAYER_MAGIC;
		h.end = h.copies = size;
		h.files %= 16;
		memcpy(s, &h, sizeof(h));
	}
	fd = fuzz_memfd(s, size);
	FUZZ_CHECK(mkdirat(root_fd, "home", 0755) == 0 && mkdirat(root_fd, "home/user", 0755) == 0);
	if (layer_fill(fd, root_fd, owner, &e) < 0)
		FUZZ_CHECK(e.id && e.what[0]);
	close(fd);
	close(root_fd);
	fuzz_clean("root");
	free(s);
	return 0;
}
