/* SPDX-License-Identifier: Apache-2.0 */
/* Images as files: seals, mapping, decoding; and what went wrong in a restore as an error. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "fork/fork.h"

#define SEALS (F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW)

int fork_image_open(int fd, struct fork_image *ret, struct err *e)
{
	int seals = fcntl(fd, F_GET_SEALS), r;
	struct stat st;
	const char *desc;
	uint64_t start;

	*ret = (struct fork_image){.fd = fd};
	/* Unsealed, its bytes could change between the check and the use. */
	if (seals < 0 || (seals & SEALS) != SEALS)
		return err_set(e, ERR_IMAGE, EINVAL, "the image is not sealed");
	if (fstat(fd, &st) ||
	    pread(fd, &ret->header, sizeof(ret->header), 0) != (ssize_t)sizeof(ret->header))
		return err_set(e, ERR_IMAGE, EINVAL, "the image is cut off");
	r = image_header_check(&ret->header, (uint64_t)st.st_size, e);
	if (r < 0)
		return r;
	start = ret->header.desc_offset;
	ret->map_bytes = ret->header.desc_bytes ? ret->header.desc_bytes : 1;
	ret->map = mmap(NULL, ret->map_bytes, PROT_READ, MAP_PRIVATE, fd, (off_t)start);
	if (ret->map == MAP_FAILED) {
		ret->map = NULL;
		return err_set(e, ERR_IMAGE, errno, "map the image");
	}
	desc = ret->map;
	r = image_decode(&ret->header, desc, ret->header.desc_bytes, (uint64_t)st.st_size,
			 &ret->image, e);
	if (r < 0)
		fork_image_close(ret);
	return r;
}

void fork_image_close(struct fork_image *im)
{
	if (im->map)
		munmap(im->map, im->map_bytes);
	*im = (struct fork_image){.fd = -EBADF};
}

int fork_report_error(const struct restore_report *r, const struct fork_image *im, struct err *e)
{
	int error = r->error > 0 && r->error < 4096 ? r->error : EPROTO;

	(void)im;
	err_set(e, ERR_LAUNCH, error, "rebuild %s %d of the clone (operation %u)",
		r->pid ? "task" : "pid", r->pid ? r->pid : 1, r->op);
	err_step(e, restore_step_name(r->step));
	if (error == ESTALE)
		err_hint(e, "a file that the image maps or has open has changed since the capture");
	return -error;
}
