/* SPDX-License-Identifier: Apache-2.0 */
/*
 * L5: --out: what a command left behind, copied out after its end, while init holds the files and
 * nobody else is alive inside. Files and directories only: what else lies there (a symbolic link
 * anywhere on the way, a device, a fifo, a socket) is refused by name.
 */
#pragma once

#include "spec/result.h"
#include "spec/spec.h"

/* Says for each --out in result->outs what became of it. root_fd: the sandbox's root, -EBADF when
 * it never stood; uid, gid: whom its files belong to, as the host counts. */
void out_copy(const struct spec *spec, int root_fd, uint32_t uid, uint32_t gid,
	      struct result *result);
